// SPDX-License-Identifier: Apache-2.0
//
// Who may what: each command of airctl, and with them each request of the control socket, by root,
// by the owner of a mount, and by another user. A command or a request without a row fails the
// test.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <regex>
#include <set>
#include <sstream>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {
namespace {

constexpr uid_t kOwner = 65534;
constexpr uid_t kOther = 65533;
constexpr int kNotAsked = -1;
constexpr int kDiagnosed = -2;  // whatever it finds on this host

// `request`: what the broker is asked; empty: nothing. The rest: exit codes.
struct Row {
  Arguments words;
  std::string request;
  int root, owner, other;
};

class Rights : public HostTest {
 protected:
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
    chmod(host().Path("state").c_str(), 0755);  // others go through it
    token_ = TokenOf("work");
    mount_ = OwnedBy(kOwner, "mine");
    ASSERT_EQ(As(kOwner, {"mount", mount_, "--token-file", token_}).code, 0);
    for (const uid_t uid : {0u, kOwner, kOther}) OwnedBy(uid, "home-" + std::to_string(uid));
  }

  std::string OwnedBy(uid_t uid, const std::string& name) {
    const std::string path = host().Path(name);
    mkdir(path.c_str(), 0755);
    (void)chown(path.c_str(), uid, uid);
    return path;
  }
  // A copy that the owner of the mount may read.
  std::string TokenOf(const std::string& workspace) {
    const std::string copy = host().Path("owner-" + workspace + ".token");
    std::filesystem::copy_file(host().Path(workspace + ".token"), copy);
    (void)chown(copy.c_str(), kOwner, kOwner);
    chmod(copy.c_str(), 0600);
    return copy;
  }
  // HOME in `words` is a directory of that user's.
  Finished As(uid_t uid, Arguments words) {
    const std::string home = host().Path("home-" + std::to_string(uid));
    for (std::string& word : words) {
      word = std::regex_replace(word, std::regex("^HOME"), home);
    }
    const RunOptions options = {.env = {{"HOME", home}, {"XDG_CONFIG_HOME", home}}, .uid = uid};
    if (words.at(0) != "top") return host().Airctl(words, options);
    // It wants a terminal, and a key to leave.
    const std::string command =
        Program("airctl") + " --socket " + host().socket() + " top " + words.at(1);
    return RunProgram(
        {"/bin/sh", "-c",
         "while printf q; do sleep 0.2; done | TERM=xterm script -qec '" + command + "' /dev/null"},
        options);
  }
  // The id of something in lost+found that is the owner's.
  std::string Lose() {
    host().CreateWorkspace("full");
    const Finished limited =
        host().Airctl({"workspace", "set", "full", "--quota-bytes", "1MiB", "--gateway",
                       host().gateway_address(), "--token-file", host().admin_token_file()});
    EXPECT_EQ(limited.code, 0) << limited.All();
    const std::string mount = OwnedBy(kOwner, "full");
    EXPECT_EQ(As(kOwner, {"mount", mount, "--token-file", TokenOf("full")}).code, 0);
    {
      const UniqueFd file = Open(mount + "/file", O_WRONLY | O_CREAT);
      WriteAt(file.get(), RandomBytes(1, 2 << 20), 0);
      EXPECT_EQ(ErrnoOf(fsync(file.get())), EDQUOT);
    }
    EXPECT_EQ(As(kOwner, {"unmount", mount}).code, 0);
    const auto items = host().AirctlJson({"recover"}).at("items");
    return items.empty() ? "" : items.at(0).at("id").get<std::string>();
  }
  // Their names, as words; those below a group too.
  std::vector<Arguments> Commands(const Arguments& group = {}) {
    Arguments words = group;
    words.emplace_back("--help");
    std::istringstream help(host().Airctl(words).out);
    std::vector<Arguments> commands;
    bool listing = false;
    for (std::string line; std::getline(help, line);) {
      if (line == "Subcommands:") {
        listing = true;
      } else if (line.empty()) {
        listing = false;
      } else if (listing) {
        Arguments command = group;
        command.push_back(line.substr(2, line.find(' ', 2) - 2));
        const auto below = Commands(command);
        commands.insert(commands.end(), below.begin(), below.end());
      }
    }
    return commands.empty() && !group.empty() ? std::vector<Arguments>{group} : commands;
  }
  static std::set<std::string> Requests() {
    const std::string proto = ReadFile(AIRSTORE_SOURCE "/proto/airstore/control/v1/control.proto");
    const size_t begin = proto.find("message Request {");
    const std::string body = proto.substr(begin, proto.find("\n}\n", begin) - begin);
    const std::regex field(" ([a-z_]+) = [0-9]+;");
    std::set<std::string> names;
    for (std::sregex_iterator at(body.begin(), body.end(), field), end; at != end; ++at) {
      names.insert((*at)[1]);
    }
    return names;
  }

  std::string mount_;
  std::string token_;
};

TEST_F(Rights, AreWhatTheTableSays) {
  const std::string lost = Lose();
  ASSERT_NE(lost, "");
  const std::string others = OwnedBy(kOther, "others");
  const auto with = [&](Arguments words, const std::string& token) {
    words.insert(words.end(), {"--gateway", host().gateway_address(), "--token-file", token});
    return words;
  };
  const std::string admin = host().admin_token_file();
  const Row rows[] = {
      // Who may not see a mount is told that there is none.
      {{"status", mount_}, "status", 0, 0, 3},
      {{"stats", mount_}, "status", 0, 0, 3},
      {{"top", mount_}, "status", 0, 0, 3},
      {{"dirty", mount_}, "dirty", 0, 0, 3},
      {{"flush", mount_}, "flush", 0, 0, 3},
      {{"evict", mount_}, "evict", 0, 0, 3},
      {{"trace", mount_, "--for", "0.1"}, "trace", 0, 0, 3},
      {{"status"}, "status", 0, 0, 0},
      // Files' modes say who reads them.
      {{"warm", mount_}, "", 0, 0, 0},
      {{"doctor"}, "status", kDiagnosed, kDiagnosed, kDiagnosed},
      {{"version"}, "version", 0, 0, 0},
      {{"upgrade", "--binary", "/nowhere"}, "upgrade", 2, 5, 5},
      {{"gateway", "status"}, "gateway_status", 0, 0, 0},
      {{"recover"}, "lost_list", 0, 0, 0},
      {{"recover", "--export", lost, "HOME/exported"}, "lost_read", 0, 0, 3},
      {{"recover", "--discard", lost}, "lost_discard", 3, 0, 3},
      // What lies on the disk is root's, or that of who runs the broker.
      {{"debug", "spool"}, "", 0, 5, 5},
      {{"debug", "journal"}, "", 0, 5, 5},
      {{"debug", "shm"}, "", 0, 5, 5},
      {{"debug", "bundle", "HOME/bundle"}, "status", 0, 0, 0},
      {{"schema"}, "", 0, 0, 0},
      {{"completion", "bash"}, "", 0, 0, 0},
      // By the token, whoever has it; a file of others cannot be read. Root's would be kept in
      // /etc.
      {{"login", "work", "--token-file", token_}, "", kNotAsked, 0, 2},
      {with({"workspace", "list"}, admin), "workspace_list", 0, 2, 2},
      {with({"workspace", "create", "more"}, token_), "workspace_create", 5, 5, 2},
      {with({"workspace", "set", "work", "--quota-inodes", "5"}, token_), "workspace_set", 5, 5, 2},
      {with({"workspace", "delete", "work"}, token_), "workspace_delete", 5, 5, 2},
      {with({"token", "list"}, token_), "token_list", 5, 5, 2},
      {with({"token", "create", "work"}, token_), "token_create", 5, 5, 2},
      {with({"token", "revoke", "0123"}, token_), "token_revoke", 5, 5, 2},
      {with({"access-log", "work"}, token_), "access_log", 5, 5, 2},
      {with({"fsck"}, admin), "store_check", 0, 2, 2},
      {with({"fsck", "--repair"}, token_), "store_check", 5, 5, 2},
      {with({"gc"}, token_), "store_check", 5, 5, 2},
      // Only on directories of one's own.
      {with({"mount", others}, token_), "mount", kNotAsked, 5, 2},
      {{"unmount", mount_}, "unmount", kNotAsked, kNotAsked, 3},
      {{"unmount", "--force", mount_}, "unmount", kNotAsked, kNotAsked, 3},
  };
  std::set<std::string> asked;
  for (const Row& row : rows) {
    for (const auto& [uid, code] :
         {std::pair<uid_t, int>{kOther, row.other}, {kOwner, row.owner}, {0, row.root}}) {
      if (code == kNotAsked) continue;
      const Finished done = As(uid, row.words);
      if (code == kDiagnosed && (done.code == 0 || done.code == 7 || done.code >= 10)) continue;
      std::string line;
      for (const auto& word : row.words) line += word + " ";
      EXPECT_EQ(done.code, code) << uid << ": " << line << done.All();
    }
    asked.insert(row.request);
  }
  // What others are shown has nothing of the mount in it.
  for (const Arguments& words : {Arguments{"--json", "status"}, {"recover"}, {"doctor"}}) {
    EXPECT_EQ(As(kOther, words).All().find(mount_), std::string::npos) << words.back();
  }
  EXPECT_EQ(host().MountStatus(mount_).at("state"), "ready");
  EXPECT_EQ(As(0, {"unmount", mount_}).code, 0) << "root may";

  const auto commands = Commands();
  EXPECT_GT(commands.size(), 30u);
  for (const Arguments& command : commands) {
    const bool has_row = std::any_of(std::begin(rows), std::end(rows), [&](const Row& row) {
      return row.words.size() >= command.size() &&
             std::equal(command.begin(), command.end(), row.words.begin());
    });
    EXPECT_TRUE(has_row) << "there is no row for airctl " << command.front() << " "
                         << command.back();
  }
  asked.erase("");
  EXPECT_EQ(asked, Requests()) << "each request of control.proto needs a row";
}

}  // namespace
}  // namespace airstore::e2e
