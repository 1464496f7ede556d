// SPDX-License-Identifier: Apache-2.0
//
// An operator's drill: something breaks, and within seconds status, doctor, the log and a metric
// name the cause by the same word.
#include <signal.h>
#include <sys/mount.h>
#include <time.h>

#include <filesystem>
#include <iostream>

#include "tests/e2e/support/host_test.h"
#include "tests/e2e/support/metrics.h"
#include "tests/unit/broker/metrics_text.h"

namespace airstore::e2e {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class Drill : public HostTest {
 protected:
  HostOptions Options() const override {
    Arguments arguments = kWithMetrics;
    arguments.insert(arguments.end(), {"--io-timeout", "3s", "--write-stall-timeout", "1s"});
    return {.broker_arguments = std::move(arguments)};
  }
  void Broken() { broken_at_ = Now(); }
  // The word, and what the log says instead of it.
  void ExpectNamed(const std::string& cause, const std::string& log) {
    std::string missing;
    const auto named = [&] {
      missing.clear();
      const Finished status = host().Airctl({"status"});
      if (status.out.find(cause + ": ") == std::string::npos) missing += "status\n" + status.All();
      const Finished doctor = host().Airctl({"doctor"});
      if (doctor.code != 7 || doctor.out.find(cause) == std::string::npos) {
        missing += "doctor\n" + doctor.All();
      }
      if (ReadFile(host().Path("broker.log")).find(log) == std::string::npos) missing += "log\n";
      bool measured = false;
      for (const auto& [series, value] : ReadMetrics(Scrape(host())).samples) {
        measured =
            measured || (value == 1 && series.rfind("airstore_problem{cause=\"" + cause, 0) == 0);
      }
      if (!measured) missing += "metric\n";
      return missing.empty();
    };
    // Five seconds are promised; a host with other things to do gets longer.
    EXPECT_TRUE(WaitUntil(seconds(30), named)) << cause << " is not named by " << missing;
    const auto took = std::chrono::duration_cast<milliseconds>(Now() - broken_at_);
    std::cout << cause << " named after " << took.count() << " ms\n";
    RecordProperty(cause + "_ms", static_cast<int>(took.count()));
  }
  void ExpectOver(const std::string& cause) {
    EXPECT_TRUE(WaitUntil(seconds(60), [&] {
      return host().Airctl({"status"}).out.find(cause + ": ") == std::string::npos;
    })) << host().Airctl({"status"}).All();
  }

 private:
  std::chrono::steady_clock::time_point broken_at_ = Now();
};

TEST_F(Drill, GatewayDown) {
  host().CreateWorkspace("work");
  const std::string mount = host().Mount("work", "mnt");
  WriteFile(mount + "/file", "content");
  Broken();
  host().KillGateway();
  ExpectNamed("gateway_unreachable", " does not answer: ");
  host().StartGateway();
  ExpectOver("gateway_unreachable");
}

TEST_F(Drill, FrontendsThatEndAgainAndAgain) {
  host().CreateWorkspace("work");
  const std::string mount = host().Mount("work", "mnt");
  Broken();
  for (uint64_t i = 1; i <= 3; ++i) {
    kill(host().MountStatus(mount).at("frontend_pid").get<pid_t>(), SIGSEGV);
    EXPECT_TRUE(WaitUntil(seconds(30), [&] {
      const auto now = host().MountStatus(mount);
      return now.at("frontend_restarts").get<uint64_t>() == i && now.at("state") == "ready";
    }));
  }
  ExpectNamed("frontend_failing", "the frontend ended unexpectedly: ");
  WriteFile(mount + "/file", "it goes on");
}

TEST_F(Drill, SpoolFull) {
  host().CreateWorkspace("work");
  host().StopBroker();
  host().WipeBrokerState();
  std::filesystem::create_directory(host().Path("state"));
  ASSERT_EQ(::mount("none", host().Path("state").c_str(), "tmpfs", 0, "size=64m,mode=700"), 0);
  host().StartBroker();
  const std::string mount = host().Mount("work", "mnt", {"--passthrough", "off"});
  UniqueFd file = Open(mount + "/large", O_WRONLY | O_CREAT);
  host().KillGateway();
  const std::string piece = RandomBytes(1, 1 << 20);
  ssize_t written = 0;
  for (int i = 0; i < 100 && written >= 0; ++i) {
    Broken();
    written = write(file.get(), piece.data(), piece.size());
  }
  EXPECT_EQ(errno, ENOSPC);
  ExpectNamed("spool_full", "the spool is full");
  ExpectNamed("gateway_unreachable", " does not answer: ");
  host().StartGateway();
  file.reset();  // what is open stays on the disk
  ExpectOver("spool_full");
}

// The last record of a journal that a dead broker has left loses its end.
TEST_F(Drill, TornJournal) {
  host().CreateWorkspace("work");
  const std::string mount = host().Mount("work", "mnt");
  EXPECT_EQ(NamesIn(mount).size(), 0u);  // whole: what is not there is known
  host().KillGateway();
  for (int i = 0; i < 5; ++i) WriteFile(mount + "/" + std::to_string(i), "content");
  host().KillBroker();
  size_t torn = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(host().Path("state/spool"))) {
    if (entry.path().filename().string().rfind("segment-", 0) != 0) continue;
    const std::string bytes = ReadFile(entry.path());
    const size_t last = bytes.find_last_not_of('\0');
    ASSERT_NE(last, std::string::npos);
    const UniqueFd file = Open(entry.path(), O_RDWR);
    WriteAt(file.get(), std::string(1, static_cast<char>(bytes[last] ^ 0x5a)),
            static_cast<off_t>(last));
    ++torn;
  }
  ASSERT_GE(torn, 1u);
  Broken();
  host().StartBroker();
  ExpectNamed("journal_torn", "the end is torn and was cut off");
  host().StartGateway();
  EXPECT_EQ(host().Airctl({"flush", "--timeout", "60"}).code, 0);
  EXPECT_EQ(ReadFile(mount + "/0"), "content") << "what came before it counts";
}

// Forward by a fifth of a second, and back.
TEST_F(Drill, ClockJump) {
  const auto jump = [](long ns) {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_nsec += ns;
    if (now.tv_nsec >= 1'000'000'000) {
      ++now.tv_sec;
      now.tv_nsec -= 1'000'000'000;
    } else if (now.tv_nsec < 0) {
      --now.tv_sec;
      now.tv_nsec += 1'000'000'000;
    }
    return clock_settime(CLOCK_REALTIME, &now) == 0;
  };
  if (!jump(0)) GTEST_SKIP() << "the clock may not be set here";
  Broken();
  ASSERT_TRUE(jump(200'000'000));
  EXPECT_TRUE(WaitUntil(
      seconds(30), [&] { return host().Status().at("broker").at("clock_sets").get<int>() > 0; }));
  ASSERT_TRUE(jump(-200'000'000));
  ExpectNamed("clock_set", "the clock was set ");
}

// A gateway whose certificate is exchanged for one that nobody here trusts.
class DrillTls : public Drill {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/airstore-tls-XXXXXX";
    keys_ = mkdtemp(pattern);
    Make("trusted", "/CN=localhost", "DNS:localhost,IP:127.0.0.1", "365");
    Make("unknown", "/CN=localhost", "DNS:localhost,IP:127.0.0.1", "365");
    Make("misnamed", "/CN=other.example", "DNS:other.example", "365");
    Make("client", "/CN=client", "DNS:client", "365");
    MakeExpired("expired");
    Drill::SetUp();
  }
  void TearDown() override {
    gateway_.Kill();
    std::filesystem::remove_all(keys_);
  }
  HostOptions Options() const override {
    HostOptions options = Drill::Options();
    // Of the others only the authority is in doubt, or the name, or the time.
    RunOk({"/bin/sh", "-c", "cd " + keys_ + "; cat trusted.pem misnamed.pem expired.pem > ca.pem"});
    options.broker_arguments.insert(options.broker_arguments.end(),
                                    {"--gateway-ca-file", Key("ca.pem"), "--gateway-cert-file",
                                     Key("client.pem"), "--gateway-key-file", Key("client.key")});
    return options;
  }
  std::string Key(const std::string& name) const { return keys_ + "/" + name; }
  void Make(const std::string& name, const std::string& subject, const std::string& names,
            const std::string& days) {
    RunOk({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
           "-nodes", "-keyout", Key(name + ".key"), "-out", Key(name + ".pem"), "-days", days,
           "-subj", subject, "-addext", "subjectAltName=" + names});
  }
  void MakeExpired(const std::string& name) {
    WriteFile(Key("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
    RunOk({"openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
           "-nodes", "-keyout", Key(name + ".key"), "-out", Key(name + ".csr"), "-subj",
           "/CN=localhost"});
    RunOk({"openssl", "x509", "-req", "-in", Key(name + ".csr"), "-signkey", Key(name + ".key"),
           "-days", "-1", "-extfile", Key("names"), "-out", Key(name + ".pem")});
  }
  // With that certificate, where it was before.
  void StartTls(const std::string& name, const Arguments& extra = {}) {
    gateway_.Kill();
    std::filesystem::remove(Key("port"));
    Arguments words = {Program("airstore-gateway"), "--data",      Key("data"),       "--listen",
                       "127.0.0.1:" + port_,        "--port-file", Key("port"),       "--tls-cert",
                       Key(name + ".pem"),          "--tls-key",   Key(name + ".key")};
    words.insert(words.end(), extra.begin(), extra.end());
    gateway_ = Process(words, {.output_file = Key("gateway.log")});
    ASSERT_TRUE(WaitUntil(seconds(60), [&] { return Exists(Key("port")); }))
        << ReadFile(Key("gateway.log"));
    port_ = std::to_string(std::stoi(ReadFile(Key("port"))));
  }
  std::string Address() const { return "https://127.0.0.1:" + port_; }
  Finished List() {
    return host().Airctl(
        {"workspace", "list", "--gateway", Address(), "--token-file", Key("data/admin-token")});
  }

 private:
  std::string keys_;
  std::string port_ = "0";
  Process gateway_;
};

TEST_F(DrillTls, BadCertificate) {
  StartTls("trusted");
  const Arguments admin = {"--gateway", Address(), "--token-file", Key("data/admin-token")};
  const auto airctl = [&](Arguments words) {
    words.insert(words.end(), admin.begin(), admin.end());
    const Finished done = host().Airctl(words);
    EXPECT_EQ(done.code, 0) << done.All();
    return done.out;
  };
  airctl({"workspace", "create", "work"});
  WriteFile(Key("token"), airctl({"token", "create", "work"}));
  chmod(Key("token").c_str(), 0600);
  const std::string mount = host().MountWith(Key("token"), "mnt", {"--gateway", Address()});
  WriteFile(mount + "/file", "content");
  (void)host().AirctlJson({"flush"});
  StartTls("unknown");
  Broken();
  ExpectNamed("gateway_certificate", "handshake");
  StartTls("misnamed");
  ExpectNamed("gateway_certificate", "handshake");
  StartTls("trusted");
  ExpectOver("gateway_certificate");
  EXPECT_EQ(ReadFile(mount + "/file"), "content");
}

// Each of these certificates is well-formed, and no good; the token is right in all cases.
TEST_F(DrillTls, CertificatesThatAreNoGoodAreRefused) {
  StartTls("trusted");
  const Finished good = List();
  EXPECT_EQ(good.code, 0) << good.All();
  for (const char* name : {"unknown", "misnamed", "expired"}) {
    StartTls(name);
    const Finished refused = List();
    EXPECT_EQ(refused.code, 6) << name << ": " << refused.All();
    EXPECT_EQ(refused.out, "") << name;
  }
}

// The gateway wants to see one, too.
TEST_F(DrillTls, ClientsWithoutACertificateAreNotLetIn) {
  StartTls("trusted", {"--tls-client-ca", Key("client.pem")});
  const Finished good = List();
  EXPECT_EQ(good.code, 0) << good.All();
  StartTls("trusted", {"--tls-client-ca", Key("unknown.pem")});
  const Finished refused = List();
  EXPECT_EQ(refused.code, 6) << refused.All();
}

}  // namespace
}  // namespace airstore::e2e
