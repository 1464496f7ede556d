// SPDX-License-Identifier: Apache-2.0
//
// What the documents tell people to type works: each line is run, but for those that are named here
// with who runs them instead. A line that is new is run.
#include <fstream>
#include <iterator>

#include "tests/e2e/support/host_test.h"
#include "tests/e2e/support/metrics.h"

namespace airstore::e2e {
namespace {

struct NotRun {
  const char* line;  // how it begins
  const char* by;    // who does it, or why nobody
};
constexpr NotRun kNotRun[] = {
    {"tools/", "tools/test packaging; these tests are run by it themselves"},
    {"apt install", "tools/test packaging"},
    {"mkdir /srv/notes && mount -t", "tools/test packaging, MountProgram.*"},
    {"airstore:notes  /srv/notes", "tools/test packaging: a line of fstab"},
    {"dir=", "set below"},
    {"alias airctl=", "set below"},
    {"install -m 755 packaging/mount.airstore", "MountProgram.*: it is put into /sbin"},
    {"airctl upgrade", "BrokerUpgrade.*"},
    {"ls \"$dir/mnt/Tools\"", "VirtualTools.*: it needs a gateway that has some"},
    {"\"$dir/mnt/Tools/NAME\"", "ditto"},
    {"grep -r invoice", "VirtualSources.*"},
    {"tail -f", "VirtualSources.*"},
    {"AWS_ACCESS_KEY_ID=", "Scaled.*"},
    {"--data /var/lib", "ditto"},
    {"--blocks \"s3:", "ditto"},
    {"airctl top", "Operate.*: it needs a terminal"},
};

// The lines of its code blocks, but for pictures and the map of the tree.
Arguments CodeOf(const std::string& document) {
  std::ifstream file(document);
  EXPECT_TRUE(file) << document;
  Arguments lines;
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("    ", 0) != 0 || line[4] == ' ') continue;
    line.erase(0, 4);
    const bool picture = line.find("──") != line.npos || line.find("│") != line.npos;
    const bool map = line.find("/  ") < line.find(' ') + 1 && line.find('/') + 1 == line.find(' ');
    if (picture || map || line.find("airstore-gateway   ") == 0) continue;
    lines.push_back(line);
  }
  return lines;
}

const NotRun* WhyNotRun(const std::string& line) {
  for (const NotRun& each : kNotRun) {
    if (line.rfind(each.line, 0) == 0) return &each;
  }
  return nullptr;
}

void ReplaceAll(std::string* text, const std::string& what, const std::string& with) {
  for (size_t at = 0; (at = text->find(what, at)) != text->npos; at += with.size()) {
    text->replace(at, what.size(), with);
  }
}

class Docs : public MountTest {
 protected:
  HostOptions Options() const override {
    HostOptions options{.broker_arguments = kWithMetrics};
    options.gateway_arguments.insert(options.gateway_arguments.end(), kWithMetrics.begin(),
                                     kWithMetrics.end());
    return options;
  }
};

TEST_F(Docs, WhatTheySayToTypeWorks) {
  if (geteuid() != 0) GTEST_SKIP() << "they are for root here";
  const std::string own = host().Path("docs");
  RunOk({"mkdir", "-p", own + "/tokens"});
  const std::string admin =
      "--gateway " + host().gateway_address() + " --token-file " + host().admin_token_file();
  const std::pair<std::string, std::string> replaced[] = {
      {"/tmp/", own + "/"},  // first: what follows is below it
      {"--gateway ... --token-file ...", admin},
      {"--gateway 127.0.0.1:7070 --token-file /var/lib/airstore-gateway/admin-token", admin},
      {"--gateway \"unix:$dir/gateway.sock\" --token-file \"$dir/gateway/admin-token\"", admin},
      {"/etc/airstore/tokens/", own + "/tokens/"},
      {"/mnt/notes", own + "/served"},
      {"$dir/token", host().Path("work.token")},
      {"$dir/mnt", mount()},
      {"airctl stats --interval 1 ", "airctl stats --interval 0.1 --count 2 "},
      // Of the host that the tests run on it may find something.
      {"airctl doctor ", "airctl doctor || [ $? = 1 ] "},
      {"http://127.0.0.1:9465/metrics", "-sS " + GatewayMetricsAddress(host())},
      {"http://127.0.0.1:9464/metrics",
       "-sS " + host().Status().at("broker").at("metrics").get<std::string>()},
      // It is made twice.
      {"airctl workspace create notes --gateway",
       "airctl workspace delete notes " + admin + " && airctl workspace create notes --gateway"},
  };
  std::string script = "set -e\ncd " + own + "\nairctl() { " + Program("airctl") + " --socket " +
                       host().socket() + " \"$@\"; }\n";
  size_t run = 0;
  for (const char* document : {"README.md", "packaging/docs/operations.md",
                               "packaging/docs/security.md", "packaging/docs/semantics.md"}) {
    for (const std::string& line : CodeOf(AIRSTORE_SOURCE "/" + std::string(document))) {
      if (WhyNotRun(line) != nullptr) continue;
      std::string real = line;
      for (const auto& [what, with] : replaced) ReplaceAll(&real, what, with);
      script += "said='" + line.substr(0, line.find('\'')) + "'\n" + real + "\n";
      ++run;
    }
  }
  script = "trap '[ $? = 0 ] || echo \"this failed: $said\" >&2' EXIT\n" + script;
  const Finished done = RunProgram({"bash", "-c", script});
  EXPECT_EQ(done.code, 0) << done.All();
  EXPECT_GE(run, 20u) << "code blocks are not found any more";
  // What it left is for the next test to be gone.
  (void)host().Airctl({"unmount", own + "/served", "--force"});
}

// A line that nobody runs any more is not to be kept in the list.
TEST(DocsList, NamesOnlyWhatIsThere) {
  const Arguments lines = CodeOf(AIRSTORE_SOURCE "/README.md");
  for (const NotRun& each : kNotRun) {
    const bool there = std::any_of(lines.begin(), lines.end(), [&](const std::string& line) {
      return line.rfind(each.line, 0) == 0;
    });
    const bool continued = std::string(each.line).rfind("--", 0) == 0;  // indented more
    EXPECT_TRUE(there || continued) << each.line << " is in no document";
  }
}

}  // namespace
}  // namespace airstore::e2e
