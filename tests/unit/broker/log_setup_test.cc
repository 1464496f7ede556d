// SPDX-License-Identifier: Apache-2.0
#include "broker/log_setup.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "broker/log_event.h"
#include "shm/base/fd.h"
#include "tests/unit/broker/temp_dir.h"

namespace airstore::broker {
namespace {

std::string TextOf(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

size_t LinesIn(const std::string& text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

class LogSetup : public testing::Test {
 protected:
  LogSetup() : before_(spdlog::default_logger()) {}
  ~LogSetup() override { spdlog::set_default_logger(before_); }
  std::shared_ptr<const LogCounts> ToFile() {
    LogOptions options{.program = "airstored"};
    options.file = temp_ / "log";
    auto counts = SetUpLog(options);
    EXPECT_TRUE(counts);
    return *counts;
  }
  std::string Logged() const {
    spdlog::default_logger()->flush();
    return TextOf(temp_ / "log");
  }

  const TempDir temp_;

 private:
  const std::shared_ptr<spdlog::logger> before_;
};

TEST_F(LogSetup, AFileIsItsOwnersAndLinesAreCounted) {
  const auto counts = ToFile();
  spdlog::info("one");
  spdlog::debug("not at this level");
  spdlog::warn("two");
  spdlog::error("three");
  EXPECT_EQ(LinesIn(Logged()), 3u) << Logged();
  EXPECT_NE(Logged().find("[error] three\n"), std::string::npos) << Logged();
  EXPECT_EQ(counts->warnings(), 1u);
  EXPECT_EQ(counts->errors(), 1u);
  struct stat info {};
  ASSERT_EQ(stat((temp_ / "log").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
}

TEST_F(LogSetup, AFloodIsCutShortButErrorsAreNot) {
  ToFile();
  for (int i = 0; i < 5000; ++i) spdlog::info("flood {}", i);
  spdlog::error("worse");
  const std::string text = Logged();
  EXPECT_LT(LinesIn(text), 1500u) << "with half a minute of a slow machine";
  EXPECT_GE(LinesIn(text), 500u);
  EXPECT_NE(text.find("lines were left out\n"), std::string::npos);
  EXPECT_NE(text.find("worse\n"), std::string::npos);
}

TEST_F(LogSetup, AnEventIsOneLineWithItsFields) {
  ToFile();
  LogEvent(spdlog::level::info,
           {{"mount", "/mnt/two\nlines \x1b[31m"}, {"workspace", "w"}, {"gateway", ""}},
           "mounted {} on {}", "w", "/mnt/two\nlines \x1b[31m");
  spdlog::warn("without\nfields");
  const std::string text = Logged();
  EXPECT_EQ(LinesIn(text), 2u) << text;
  EXPECT_NE(text.find("[info] mounted w on /mnt/two\\nlines \\x1b[31m "
                      "mount=\"/mnt/two\\nlines \\x1b[31m\" workspace=w\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("[warning] without\\nfields\n"), std::string::npos) << text;
}

TEST_F(LogSetup, JsonHasAnObjectALine) {
  LogOptions options{.program = "airstored"};
  options.file = temp_ / "log";
  options.format = "json";
  ASSERT_TRUE(SetUpLog(options));
  LogEvent(spdlog::level::err, {{"mount", "/mnt/\"x\""}, {"error", "no\nway\xff"}}, "it is {}",
           "bad");
  spdlog::info("plain");
  std::istringstream lines(Logged());
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json.at("level"), "error");
  EXPECT_EQ(json.at("program"), "airstored");
  EXPECT_EQ(json.at("pid"), getpid());
  EXPECT_EQ(json.at("message"), "it is bad");
  EXPECT_EQ(json.at("mount"), "/mnt/\"x\"");
  EXPECT_EQ(json.at("error"), "no\nway\xEF\xBF\xBD");
  EXPECT_EQ(json.at("time").get<std::string>().size(), 24u) << json.at("time");
  ASSERT_TRUE(std::getline(lines, line));
  EXPECT_EQ(nlohmann::json::parse(line).at("message"), "plain");
}

TEST_F(LogSetup, AFileIsRotated) {
  ToFile();
  const std::string line(64 << 10, 'x');
  for (int i = 0; i < 300; ++i) spdlog::error("{}", line);
  struct stat now {
  }, before{};
  EXPECT_EQ(stat((temp_ / "log").c_str(), &now), 0);
  EXPECT_EQ(stat((temp_ / "log.1").c_str(), &before), 0);
  EXPECT_LE(now.st_size, 17 << 20);
  EXPECT_LE(before.st_size, 17 << 20);
  EXPECT_GE(now.st_size + before.st_size, 300 * (64 << 10));
}

// As under systemd: the journal says which stream is its own.
TEST_F(LogSetup, AJournalGetsPriorities) {
  const UniqueFd kept(dup(STDERR_FILENO));
  const UniqueFd file(open((temp_ / "stream").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  struct stat info {};
  ASSERT_EQ(fstat(file.get(), &info), 0);
  dup2(file.get(), STDERR_FILENO);
  setenv("JOURNAL_STREAM",
         (std::to_string(info.st_dev) + ":" + std::to_string(info.st_ino)).c_str(), 1);
  EXPECT_TRUE(SetUpLog({.program = "airstored"}));
  spdlog::info("one");
  spdlog::warn("two");
  spdlog::error("three");
  spdlog::default_logger()->flush();
  unsetenv("JOURNAL_STREAM");
  dup2(kept.get(), STDERR_FILENO);
  EXPECT_EQ(TextOf(temp_ / "stream"), "<6>one\n<4>two\n<3>three\n");
}

TEST_F(LogSetup, AFileThatCannotBeWrittenIsAnError) {
  LogOptions options{.program = "airstored"};
  options.file = "/proc/none/log";
  const auto counts = SetUpLog(options);
  ASSERT_FALSE(counts);
  EXPECT_NE(counts.error().message.find("/proc/none"), std::string::npos);
}

}  // namespace
}  // namespace airstore::broker
