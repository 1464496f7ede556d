// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/ack_log.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "tests/e2e/support/process.h"

namespace airstore::fault {
namespace {

constexpr char kStop[] = ".stop";      // finish what is under way
constexpr char kEnding[] = ".ending";  // nothing counts any more

bool Exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

LogLines Read(const std::string& path) {
  LogLines lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream text(line);
    std::vector<std::string> words;
    for (std::string word; text >> word;) words.push_back(word);
    if (!words.empty()) lines.push_back(std::move(words));
  }
  return lines;
}

bool IsAck(const std::vector<std::string>& words) {
  return words[0] != "s" && words[0] != "error" && words[0] != "wrong";
}

class LoggedLoad : public Load {
 public:
  LoggedLoad(std::string kind, std::string mount, std::string log, LoadOrder order)
      : kind_(std::move(kind)),
        mount_(std::move(mount)),
        log_(std::move(log)),
        order_(std::move(order)) {}

  void Start() override {
    process_ = e2e::Process({std::filesystem::read_symlink("/proc/self/exe").string(), kLoadFlag,
                             kind_, order_.directory, log_, std::to_string(order_.seed),
                             order_.passthrough ? "passthrough" : "daemon"},
                            {.output_file = log_ + ".output"});
  }
  void BeginEnd() override { std::ofstream(log_ + kEnding).put('\n'); }
  void Join() override {
    std::ofstream(log_ + kStop).put('\n');
    const auto code = process_.Wait(std::chrono::seconds(60));
    if (!code) {
      errors_.push_back({0, "does not come back"});
    } else if (*code == 128 + SIGBUS) {
      errors_.push_back({EFAULT, "SIGBUS"});
    } else if (*code != 0) {
      errors_.push_back({0, "ended with " + std::to_string(*code)});
    }
    lines_ = Read(log_);
    for (const auto& words : lines_) {
      if (IsAck(words)) continue;
      std::string text;
      for (size_t i = 1; i < words.size(); ++i) text += words[i] + " ";
      if (words[0] == "error") errors_.push_back({std::stoi(words.at(1)), text});
      if (words[0] == "wrong") errors_.push_back({0, text});
    }
  }

  std::string name() const override { return kind_; }
  uint64_t acknowledged() const override {
    uint64_t count = 0;
    for (const auto& words : Read(log_)) count += IsAck(words) ? 1 : 0;
    return count;
  }
  std::vector<LoadError> errors() const override { return errors_; }
  std::string Check(const std::string& mount, Kept kept) const override {
    const std::string below = order_.directory.substr(mount_.size());
    return LoadPrograms().at(kind_).check(lines_, mount + below, order_, kept);
  }

 private:
  std::string kind_;
  std::string mount_;
  std::string log_;
  LoadOrder order_;
  e2e::Process process_;
  LogLines lines_;
  std::vector<LoadError> errors_;
};

}  // namespace

AckLog::AckLog(const std::string& path)
    : path_(path), fd_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
  if (fd_ < 0) throw std::runtime_error("open " + path + ": " + strerror(errno));
}

AckLog::~AckLog() { close(fd_); }

void AckLog::Line(const std::string& text) {
  const std::string line = text + "\n";
  if (write(fd_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    throw std::runtime_error("write " + path_ + ": " + strerror(errno));
  }
}

bool AckLog::Ack(const std::string& text) {
  if (Exists(path_ + kEnding)) return false;
  Line(text);
  return true;
}

bool AckLog::Fail(const std::string& what) {
  const int error = errno;
  Line("error " + std::to_string(error) + " " + what + ": " + strerror(error));
  return false;
}

bool AckLog::Wrong(const std::string& what) {
  Line("wrong " + what);
  return false;
}

bool AckLog::Write(int fd, const std::string& bytes, std::optional<off64_t> offset) {
  const auto from = [&](size_t done) {
    const char* data = bytes.data() + done;
    const size_t left = bytes.size() - done;
    return offset ? pwrite(fd, data, left, *offset + static_cast<off64_t>(done))
                  : write(fd, data, left);
  };
  const ssize_t written = from(0);
  if (written < 0) return Fail("write");
  if (written == static_cast<ssize_t>(bytes.size())) return true;
  const auto done = static_cast<size_t>(written);
  if (from(done) < 0) return Fail("rest of a write");
  return Wrong("write of " + std::to_string(bytes.size()) + " bytes that ended after " +
               std::to_string(done) + ", although more could be written");
}

bool AckLog::over() const { return Exists(path_ + kStop) || Exists(path_ + kEnding); }

const std::map<std::string, LoadProgram>& LoadPrograms() {
  static const std::map<std::string, LoadProgram> programs = {{"blocks", kBlocksProgram},
                                                              {"maps", kMapsProgram},
                                                              {"manifest", kManifestProgram},
                                                              {"sqlite", kSqliteProgram},
                                                              {"git", kGitProgram}};
  return programs;
}

int RunLoad(const std::vector<std::string>& arguments) {
  AckLog log(arguments.at(2));
  LoadOrder order;
  order.directory = arguments.at(1);
  order.seed = std::stoull(arguments.at(3));
  order.passthrough = arguments.at(4) == "passthrough";
  if (mkdir(order.directory.c_str(), 0755) != 0) {
    log.Fail("mkdir");
    return 0;
  }
  try {
    LoadPrograms().at(arguments.at(0)).run(log, order);
  } catch (const std::exception& error) {
    log.Wrong(error.what());
  }
  return 0;
}

std::unique_ptr<Load> MakeLoggedLoad(const std::string& kind, const std::string& mount,
                                     const std::string& log_file, uint64_t seed, bool passthrough) {
  const LoadOrder order{mount + "/" + kind, seed, passthrough};
  return std::make_unique<LoggedLoad>(kind, mount, log_file, order);
}

}  // namespace airstore::fault
