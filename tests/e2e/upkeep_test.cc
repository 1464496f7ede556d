// SPDX-License-Identifier: Apache-2.0
//
// What an operator does now and then: giving up caches, keeping tokens, and checking and mending a
// gateway's store while mounts use it.
#include <fcntl.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {
namespace {

namespace fs = std::filesystem;

class Upkeep : public MountTest {
 protected:
  HostOptions Options() const override { return {.block_files = true}; }
  nlohmann::json Evict(const std::string& path) { return host().AirctlJson({"evict", path}); }
  // Closed files of passthrough are given up once the kernel has let go of them, which it does not
  // tell: until all is gone, all that went.
  nlohmann::json EvictAll(const std::string& path) {
    nlohmann::json sum = Evict(path);
    for (int i = 0; i < 200 && sum.at("kept_files") != 0; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      const nlohmann::json more = Evict(path);
      for (const char* key : {"files", "bytes"}) {
        sum[key] = sum[key].get<uint64_t>() + more[key].get<uint64_t>();
      }
      for (const char* key : {"kept_files", "kept_bytes"}) sum[key] = more[key];
    }
    return sum;
  }
  uint64_t Fetched() { return host().SessionStatus("work").at("fetched_bytes").get<uint64_t>(); }
  Finished Fsck(const Arguments& extra) {
    Arguments words = {"--json",       "fsck",
                       "--gateway",    host().gateway_address(),
                       "--token-file", host().admin_token_file()};
    words.insert(words.end(), extra.begin(), extra.end());
    return host().Airctl(words);
  }
  // Kinds of what is found, sorted.
  Arguments Damages(const Arguments& extra = {}) {
    const Finished done = Fsck(extra);
    Arguments kinds;
    const auto said = nlohmann::json::parse(done.out);
    for (const auto& damage : said.at("damages")) kinds.push_back(damage.at("kind"));
    std::sort(kinds.begin(), kinds.end());
    const bool left = said.at("totals").at("damages") != said.at("totals").at("repaired");
    EXPECT_EQ(done.code, left ? 1 : 0) << done.All();
    return kinds;
  }
  // Files of blocks, the largest first.
  std::vector<fs::path> BlockFiles() {
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(host().Path("gateway/blocks"))) {
      if (entry.is_regular_file() && entry.path().filename().string().size() == 32) {
        files.push_back(entry.path());
      }
    }
    std::sort(files.begin(), files.end(), [](const fs::path& one, const fs::path& other) {
      return fs::file_size(one) > fs::file_size(other);
    });
    return files;
  }
};

TEST_F(Upkeep, EvictingGivesUpWhatIsCachedAndNothingElse) {
  const std::string small = RandomBytes(1, 1000), large = RandomBytes(2, 3 << 20);
  RunOk({"mkdir", At("a"), At("b")});
  for (const char* name : {"a/small", "b/small"}) WriteFile(At(name), small);
  for (const char* name : {"a/large", "b/large", "open"}) WriteFile(At(name), large);
  (void)host().AirctlJson({"flush"});
  RemountFresh();
  for (const char* name : {"a/small", "b/small", "a/large", "b/large", "open"}) {
    (void)ReadFile(At(name));
  }
  const uint64_t before = Fetched();

  const auto below = EvictAll(At("a"));
  EXPECT_EQ(below.at("files"), 2) << "only what is there";
  EXPECT_GE(below.at("bytes").get<uint64_t>(), large.size());
  EXPECT_EQ(ReadFile(At("b/large")), large);
  EXPECT_EQ(ReadFile(At("b/small")), small);
  EXPECT_EQ(Fetched(), before) << "the rest was kept";
  EXPECT_EQ(ReadFile(At("a/large")), large);
  EXPECT_EQ(ReadFile(At("a/small")), small);
  EXPECT_GE(Fetched(), before + large.size()) << "it was fetched anew";

  // One file, what is open, and what is not at the gateway.
  EXPECT_EQ(EvictAll(At("a/small")).at("files"), 1);
  const UniqueFd held = Open(At("open"), O_RDONLY);
  ASSERT_TRUE(held);
  host().FreezeGateway();
  WriteFile(At("unsent"), large);
  const auto kept = Evict(mount());
  EXPECT_GE(kept.at("kept_files"), 2);
  EXPECT_EQ(ReadFile(At("unsent")), large);
  EXPECT_EQ(ReadSome(held.get(), large.size(), 0), large);
  host().ThawGateway();
  (void)host().AirctlJson({"flush"});
  EXPECT_EQ(ReadFile(At("unsent")), large);

  const Finished outside = host().Airctl({"evict", host().Path("state")});
  EXPECT_EQ(outside.code, 3) << outside.All();
  EXPECT_NE(outside.err.find("is in no mount"), std::string::npos) << outside.All();
  EXPECT_NE(host().Airctl({"evict", mount()}).out.find("freed "), std::string::npos);
}

TEST_F(Upkeep, AnEmptyFileThatWasEvictedIsWritten) {
  const std::string path = At("empty");
  WriteFile(path, "");
  (void)host().AirctlJson({"flush"});
  RemountFresh();
  EXPECT_EQ(ReadFile(path), "");
  EXPECT_EQ(EvictAll(mount()).at("files"), 1);
  const UniqueFd file = Open(path, O_WRONLY);
  ASSERT_TRUE(file) << strerror(errno);
  ASSERT_EQ(write(file.get(), "written", 7), 7);
  EXPECT_EQ(ReadFile(path), "written");
}

TEST_F(Upkeep, AKeptTokenMounts) {
  const std::string config = host().Path("config");
  RunOk({"mkdir", config});
  const std::string secret = ReadFile(host().Path("work.token"));
  // Root keeps them in /etc, for all; another user in the directory that the variable names.
  constexpr uid_t kSomebody = 65534;
  RunOk({"chown", std::to_string(kSomebody), config});
  RunOk({"chmod", "711", host().directory(), host().Path("state")});
  const RunOptions somebody = {
      .input = secret, .env = {{"XDG_CONFIG_HOME", config}, {"HOME", config}}, .uid = kSomebody};
  if (geteuid() != 0) GTEST_SKIP() << "needs another user";
  const Arguments airctl = {Program("airctl"), "--socket", host().socket()};
  const auto run = [&](Arguments words, RunOptions options) {
    words.insert(words.begin(), airctl.begin(), airctl.end());
    return RunProgram(words, options);
  };
  const std::string file = config + "/airstore/tokens/work";
  const Finished kept = run({"login", "work", "--token-file", "-"}, somebody);
  ASSERT_EQ(kept.code, 0) << kept.All();
  EXPECT_EQ(kept.out, "kept in " + file + "\n");
  EXPECT_EQ(kept.All().find(secret.substr(0, 20)), std::string::npos);
  EXPECT_EQ(Stat(file).st_mode & 07777, 0600u);
  EXPECT_EQ(Stat(fs::path(file).parent_path()).st_mode & 07777, 0700u);
  EXPECT_EQ(ReadFile(file), secret);

  WriteFile(At("hello"), "content");
  (void)host().AirctlJson({"flush"});
  const std::string point = config + "/mnt";
  RunOk({"mkdir", point});
  RunOk({"chown", std::to_string(kSomebody), point});
  RunOptions without = somebody;
  without.input.clear();
  const Finished mounted =
      run({"mount", "work", point, "--gateway", host().gateway_address()}, without);
  ASSERT_EQ(mounted.code, 0) << mounted.All();
  EXPECT_EQ(RunProgram({"cat", point + "/hello"}, {.uid = kSomebody}).out, "content");
  host().Unmount(point);

  // Another one takes its place; what is no token does not.
  RunOptions next = somebody;
  next.input = "ast_another";
  ASSERT_EQ(run({"login", "work", "--token-file", "-"}, next).code, 0);
  EXPECT_EQ(ReadFile(file), "ast_another\n");
  const Finished refused =
      run({"mount", "work", point, "--gateway", host().gateway_address()}, without);
  EXPECT_NE(refused.code, 0);
  EXPECT_NE(refused.err.find("refused the token"), std::string::npos) << refused.All();
  next.input = "two words";
  EXPECT_EQ(run({"login", "work", "--token-file", "-"}, next).code, 2);
  EXPECT_EQ(ReadFile(file), "ast_another\n");
}

// Damage is planted in the files of a gateway that runs, and mended while a program writes.
TEST_F(Upkeep, FsckMendsAStoreThatIsInUse) {
  const std::string large = RandomBytes(3, 200'000);
  RunOk({"mkdir", At("dir")});
  WriteFile(At("dir/lost"), large);
  (void)host().AirctlJson({"flush"});
  const fs::path lost = BlockFiles().at(0);
  WriteFile(At("dir/bad"), RandomBytes(4, 150'000));
  (void)host().AirctlJson({"flush"});
  ASSERT_EQ(BlockFiles().size(), 2u) << "one each";
  const fs::path bad = BlockFiles().at(1);
  for (int i = 0; i < 20; ++i) WriteFile(At("kept" + std::to_string(i)), RandomBytes(5, 5000));
  (void)host().AirctlJson({"flush"});
  EXPECT_EQ(Damages(), Arguments{});

  fs::remove(lost);
  {
    std::fstream bytes(bad, std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(100'000);
    bytes.write("damage", 6);
  }
  std::ofstream(lost.string().replace(lost.string().size() - 4, 4, "0000")) << "nobody's";
  RunOk({"find", host().Path("gateway/blocks"), "-name", "*0000", "-exec", "touch", "-d",
         "2020-01-01", "{}", ";"});
  Process writing({"sh", "-c",
                   "i=0; while [ ! -e " + host().Path("enough") + " ]; do i=$((i+1)); echo $i > " +
                       At("written") + "$((i%50)); done"});
  const Arguments all = {"corrupt-block", "missing-block", "orphan-block"};
  EXPECT_EQ(Damages({"--quick"}), (Arguments{"missing-block", "orphan-block"}));
  EXPECT_EQ(Damages(), all) << "looking changed something";
  const Finished repaired = Fsck({"--repair"});
  EXPECT_EQ(repaired.code, 0) << repaired.All();
  std::map<std::string, nlohmann::json> by_kind;
  const auto said = nlohmann::json::parse(repaired.out);
  for (const auto& damage : said.at("damages")) by_kind[damage.at("kind")] = damage;
  ASSERT_EQ(by_kind.size(), 3u) << repaired.out;
  EXPECT_EQ(by_kind["missing-block"].at("path"), "dir/lost");
  EXPECT_EQ(by_kind["missing-block"].at("lost_bytes"), 200'000);
  EXPECT_EQ(by_kind["corrupt-block"].at("path"), "dir/bad");
  EXPECT_EQ(said.at("totals").at("lost_bytes"), 350'000);
  EXPECT_EQ(Damages(), Arguments{});
  WriteFile(host().Path("enough"), "");
  EXPECT_EQ(writing.Wait(std::chrono::seconds(60)), 0);
  (void)host().AirctlJson({"flush"});
  EXPECT_EQ(Damages(), Arguments{});
  RemountFresh();
  EXPECT_EQ(ReadFile(At("dir/lost")), std::string(200'000, '\0'));
  EXPECT_EQ(ReadFile(At("dir/bad")), std::string(150'000, '\0'));
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(ReadFile(At("kept" + std::to_string(i))), RandomBytes(5, 5000));
  }

  // For people; and only for who has the admin token.
  const Arguments gateway = {"--gateway", host().gateway_address(), "--token-file"};
  const Finished text = host().Airctl({"fsck", "work", "--gateway", host().gateway_address(),
                                       "--token-file", host().admin_token_file()});
  EXPECT_NE(text.out.find("checked 1 workspace, "), std::string::npos) << text.All();
  EXPECT_NE(text.out.find("no damage"), std::string::npos) << text.All();
  EXPECT_NE(host()
                .Airctl({"fsck", "--gateway", host().gateway_address(), "--token-file",
                         host().Path("work.token")})
                .code,
            0);
  const Finished none = host().Airctl({"fsck", "nowhere", "--gateway", host().gateway_address(),
                                       "--token-file", host().admin_token_file()});
  EXPECT_EQ(none.code, 3) << none.All();
}

// So that hundreds of them fit.
TEST_F(Upkeep, AMountTakesLittleOfTheSpool) {
  const auto spool = [&] { return host().Status().at("broker").at("spool_bytes").get<uint64_t>(); };
  if (!host().MountStatus(mount()).at("passthrough")) GTEST_SKIP() << "no passthrough here";
  const uint64_t before = spool();
  (void)host().Mount("work", "another");
  EXPECT_LE(spool() - before, 40u << 20);
  EXPECT_GE(spool() - before, 20u << 20) << "is it counted at all?";
}

class UpkeepCollecting : public MountTest {
 protected:
  HostOptions Options() const override {
    return {.gateway_arguments = {"--session-seconds", "15", "--gc-grace", "0"},
            .block_files = true};
  }
};

TEST_F(UpkeepCollecting, GcDeletesWhatNoFileNeeds) {
  WriteFile(At("gone"), RandomBytes(1, 2 << 20));
  WriteFile(At("kept"), RandomBytes(2, 2 << 20));
  (void)host().AirctlJson({"flush"});
  RunOk({"rm", At("gone")});
  (void)host().AirctlJson({"flush"});
  // The gateway's own rounds may come first: what is there afterwards counts.
  const auto said = host().AirctlJson(
      {"gc", "--gateway", host().gateway_address(), "--token-file", host().admin_token_file()});
  EXPECT_EQ(said.at("damages").size(), 0u);
  uint64_t stored = 0;
  for (const auto& entry : fs::recursive_directory_iterator(host().Path("gateway/blocks"))) {
    if (entry.is_regular_file()) stored += entry.file_size();
  }
  EXPECT_GE(stored, 2u << 20);
  EXPECT_LT(stored, 3u << 20);
  RemountFresh();
  EXPECT_EQ(ReadFile(At("kept")), RandomBytes(2, 2 << 20));
}

}  // namespace
}  // namespace airstore::e2e
