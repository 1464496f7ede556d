// SPDX-License-Identifier: Apache-2.0
#include "broker/metrics.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <cstring>
#include <fstream>
#include <future>
#include <iterator>
#include <regex>
#include <thread>

#include "broker/metrics_server.h"
#include "shm/base/fd.h"
#include "shm/counters.h"
#include "tests/unit/broker/metrics_text.h"
#include "tests/unit/broker/temp_dir.h"

namespace airstore::broker {
namespace {

BrokerStatus SomeStatus() {
  BrokerStatus status;
  status.spool_full = true;
  SessionStatus session;
  session.workspace = "w\"or\\k\n";
  session.gateway = "host:1";
  session.state = "connected";
  session.gateway_calls = 12;
  session.call_latencies = LatencyCounts(40);
  session.call_latencies[20] = 3;
  status.sessions = {session, session};
  status.sessions[1].state = "recovering";
  status.sessions.push_back(status.sessions[1]);
  MountStatus mount;
  mount.mountpoint = "/mnt";
  mount.state = "ready";
  for (const char* name : shm::kCounterNames) mount.counters[name] = 1;
  mount.counters["lookup_hits"] = 90;
  mount.counters["lookup_misses"] = 10;
  mount.latencies["read"] = LatencyCounts(48);
  mount.latencies["read"][0] = 1;
  mount.latencies["read"][10] = 5;
  mount.latencies["read"][47] = 1;
  status.mounts = {mount, mount};
  status.mounts[1].mountpoint = "/other";
  return status;
}

TEST(Metrics, AreWhatPrometheusReads) {
  const MetricsRead read = ReadMetrics(MetricsText(SomeStatus(), LogCounts()));
  EXPECT_TRUE(read.complaints.empty()) << read.complaints.front();
  const auto& samples = read.samples;
  const std::string mount = "mountpoint=\"/mnt\",workspace=\"\"";
  EXPECT_EQ(samples.at("airstore_lookups_total{" + mount + ",layer=\"memory\"}"), 90);
  EXPECT_EQ(samples.at("airstore_lookups_total{" + mount + ",layer=\"broker\"}"), 10);
  EXPECT_EQ(samples.at("airstore_mount_state{" + mount + ",state=\"ready\"}"), 1);
  EXPECT_EQ(samples.at("airstore_mount_state{" + mount + ",state=\"dead\"}"), 0);
  EXPECT_EQ(samples.at("airstore_problem{cause=\"spool_full\",subject=\"\"}"), 1);
  EXPECT_EQ(samples.at("airstore_problem{cause=\"clock_set\",subject=\"\"}"), 0);
  EXPECT_EQ(samples.at("airstore_gateway_up{gateway=\"host:1\"}"), 1);
  EXPECT_EQ(read.types.at("airstore_request_duration_seconds"), "histogram");
  EXPECT_EQ(samples.at("airstore_request_duration_seconds_count{" + mount + ",operation=\"read\"}"),
            7);
}

// A bucket that is between two bounds must count for the upper one.
TEST(Metrics, BucketsAreCumulative) {
  const MetricsRead read = ReadMetrics(MetricsText(SomeStatus(), LogCounts()));
  std::vector<double> counts;
  for (const auto& [series, value] : read.samples) {
    if (series.rfind("airstore_gateway_call_duration_seconds_bucket", 0) != 0) continue;
    const double bound = std::stod(series.substr(series.find("le=\"") + 4));
    EXPECT_EQ(value, bound < 2.0 * (1 << 20) / 1e9 ? 0 : 3) << series;
    counts.push_back(value);
  }
  EXPECT_GT(counts.size(), 10u);
}

// Neither the dashboard nor an alert waits for what is never there.
TEST(Metrics, DashboardAndAlertsKnowTheirNames) {
  const auto types = ReadMetrics(MetricsText(SomeStatus(), LogCounts())).types;
  size_t found = 0;
  for (const char* name : {"airstore-dashboard.json", "airstore.rules.yml"}) {
    std::ifstream file(std::string(AIRSTORE_PACKAGING_DIR "/monitoring/") + name);
    const std::string text(std::istreambuf_iterator<char>(file), {});
    const std::regex metric("airstore_[a-z_]+");
    for (std::sregex_iterator at(text.begin(), text.end(), metric), end; at != end; ++at) {
      const std::string word = at->str();
      const std::string family = word.substr(0, word.rfind("_bucket"));
      EXPECT_TRUE(types.contains(word) || types.contains(family)) << word << " in " << name;
      ++found;
    }
  }
  EXPECT_GT(found, 20u);
}

// A reader that cannot complain proves nothing.
TEST(Metrics, TheReaderOfTheseTestsIsStrict) {
  const std::string head = "# HELP a_total x\n# TYPE a_total counter\n";
  EXPECT_TRUE(ReadMetrics(head + "a_total 1\n").complaints.empty());
  for (const char* wrong : {"a_total 1\na_total 1\n", "b_total 1\n", "a_total x\n", "a_total 1",
                            "# HELP b x\n# TYPE b counter\nb 1\n"}) {
    EXPECT_FALSE(ReadMetrics(head + wrong).complaints.empty()) << wrong;
  }
}

class MetricsServerTest : public testing::Test {
 protected:
  ~MetricsServerTest() override {
    End();
    work_.reset();
    loop_.stop();
    if (thread_.joinable()) thread_.join();
  }
  void Start() {
    auto server = MetricsServer::Listen(loop_.get_executor(), {.path = temp_ / "m"},
                                        [] { return std::string("a 1\n"); });
    ASSERT_TRUE(server) << server.error().ToString();
    server_ = std::move(*server);
    thread_ = std::thread([this] { loop_.run(); });
  }
  // On its own thread.
  void End() {
    if (!thread_.joinable()) return;
    std::promise<void> ended;
    boost::asio::post(loop_, [&] {
      server_.reset();
      ended.set_value();
    });
    ended.get_future().wait();
  }
  UniqueFd Connected() {
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    strcpy(address.sun_path, (temp_ / "m").c_str());
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  // All that is answered to these bytes, until the end of the connection.
  std::string Say(const std::string& request) {
    const UniqueFd fd = Connected();
    send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL);
    shutdown(fd.get(), SHUT_WR);
    std::string answer;
    char piece[1024];
    for (ssize_t got; (got = recv(fd.get(), piece, sizeof piece, 0)) > 0;) {
      answer.append(piece, static_cast<size_t>(got));
    }
    return answer;
  }

  const TempDir temp_;
  boost::asio::io_context loop_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
      loop_.get_executor()};
  std::unique_ptr<MetricsServer> server_;
  std::thread thread_;
};

TEST_F(MetricsServerTest, AnswersWhoAsksForThem) {
  Start();
  const std::string answer =
      Say("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics?a=b HTTP/1.1\r\nHost: x\r\n"
          "Connection: close\r\n\r\n");
  EXPECT_EQ(answer.rfind("HTTP/1.1 200 OK\r\n", 0), 0u) << answer;
  EXPECT_NE(answer.find("Content-Type: text/plain; version=0.0.4"), std::string::npos) << answer;
  EXPECT_NE(answer.find("\r\n\r\na 1\nHTTP/1.1 200"), std::string::npos) << answer;
}

TEST_F(MetricsServerTest, RefusesTheRest) {
  Start();
  EXPECT_NE(Say("GET / HTTP/1.0\r\n\r\n").find(" 404 "), std::string::npos);
  EXPECT_NE(Say("POST /metrics HTTP/1.0\r\nContent-Length: 0\r\n\r\n").find(" 405 "),
            std::string::npos);
  EXPECT_EQ(Say("nonsense\r\n\r\n"), "");
  EXPECT_EQ(Say("GET /metrics HTTP/1.1\r\nX: " + std::string(20'000, 'x') + "\r\n\r\n"), "");
  EXPECT_EQ(Say(""), "");
  EXPECT_NE(Say("GET /metrics HTTP/1.0\r\n\r\n").find(" 200 "), std::string::npos);
}

// Who says nothing holds up nobody, and there are not more than a few of them.
TEST_F(MetricsServerTest, SilentOnesHoldUpNobody) {
  Start();
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 10; ++i) silent.push_back(Connected());
  EXPECT_NE(Say("GET /metrics HTTP/1.0\r\n\r\n").find(" 200 "), std::string::npos);
}

TEST_F(MetricsServerTest, TheSocketIsTheOwnersAndGoesWithIt) {
  Start();
  struct stat info {};
  ASSERT_EQ(stat((temp_ / "m").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0660u);
  End();
  EXPECT_NE(stat((temp_ / "m").c_str(), &info), 0);
}

TEST_F(MetricsServerTest, AnotherFileIsNotReplaced) {
  temp_.Write("m", "mine");
  EXPECT_FALSE(MetricsServer::Listen(loop_.get_executor(), {.path = temp_ / "m"},
                                     [] { return std::string(); }));
}

TEST(MetricsAddress, IsOfThisHost) {
  EXPECT_EQ(ParseMetricsAddress("unix:/run/m")->path, "/run/m");
  EXPECT_EQ(ParseMetricsAddress("127.0.0.1:9464")->port, 9464);
  EXPECT_EQ(ParseMetricsAddress("localhost:1")->port, 1);
  EXPECT_TRUE(ParseMetricsAddress("[::1]:9464")->v6);
  for (const char* wrong :
       {"", "9464", ":9464", "0.0.0.0:9464", "example.org:1", "127.0.0.1:", "127.0.0.1:70000",
        "127.0.0.1:1x", "unix:", "unix:relative", "[::]:1"}) {
    EXPECT_FALSE(ParseMetricsAddress(wrong)) << wrong;
  }
}

}  // namespace
}  // namespace airstore::broker
