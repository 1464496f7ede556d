// SPDX-License-Identifier: Apache-2.0
//
// A maildir as a source: views by sender, subject, date and flags; each result is a message as it
// lies there. Folders are those of Maildir++ (".Name" beside cur, new and tmp).
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <map>
#include <mutex>
#include <sstream>
#include <tuple>

#include "shm/base/fd.h"
#include "tools/gateway/blocks.h"
#include "tools/gateway/sources/mail_headers.h"
#include "tools/gateway/sources/provider.h"

namespace airstore::gateway {
namespace {

using nlohmann::json;

constexpr size_t kHeaderBytes = 64 << 10;
constexpr size_t kMostMessages = 200'000;
constexpr const char* kInbox = "INBOX";

std::string Lower(std::string text) {
  for (char& c : text) c = static_cast<char>(tolower(static_cast<unsigned char>(c)));
  return text;
}

bool Holds(const std::string& text, const std::string& part) {
  return Lower(text).find(Lower(part)) != std::string::npos;
}

struct Message {
  std::string path;   // where it lies now: flags are in its name
  std::string flags;  // letters behind ":2,"; new ones have none
  uint64_t size = 0;
  int64_t mtime = 0;
  MailHeaders headers;
};

// Not by way of links: whoever may write to the maildir need not be allowed to read what they lead
// to. `path`: below `root`.
Result<std::string> ReadSome(const std::string& root, const std::string& path, uint64_t offset,
                             uint64_t length) {
  const UniqueFd top(open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!top) return SysError("open " + root);
  open_how how{};
  how.flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  const std::string below = path.substr(root.size() + 1);
  const UniqueFd fd(
      static_cast<int>(syscall(SYS_openat2, top.get(), below.c_str(), &how, sizeof how)));
  if (!fd) return SysError("open " + path, errno == ELOOP ? ENOENT : errno);
  struct stat st;
  if (fstat(fd.get(), &st) != 0) return SysError("stat " + path);
  if (!S_ISREG(st.st_mode)) return Error{ENOENT, path + " is not a file"};
  const auto size = static_cast<uint64_t>(st.st_size);
  const uint64_t left = size - std::min(offset, size);
  std::string data(length == 0 ? left : std::min(length, left), '\0');
  size_t done = 0;
  while (done < data.size()) {
    const ssize_t n =
        pread(fd.get(), data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
    if (n < 0) return SysError("read " + path);
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  data.resize(done);
  return data;
}

// A '.' comes before it, so with another one it would be the directory above.
bool IsFolder(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

class Maildir final : public SourceProvider {
 public:
  explicit Maildir(std::string path) : path_(std::move(path)) {
    while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
  }

  Result<void> Check() override {
    std::error_code error;
    if (std::filesystem::is_directory(path_ + "/cur", error)) return {};
    return Error{ENOTCONN, path_ + " is not a maildir"};
  }

  Result<void> CheckFilter(const json& filter) override {
    AIRSTORE_TRY(CheckKeys(filter, {{"from", "string"},
                                    {"subject", "string"},
                                    {"since", "string"},
                                    {"before", "string"},
                                    {"flags", "string"},
                                    {"without_flags", "string"},
                                    {"unread", "boolean"},
                                    {"flagged", "boolean"},
                                    {"folder", "string"}}));
    for (const char* key : {"since", "before"}) {
      if (filter.contains(key) && !ParseDay(filter[key].get<std::string>())) {
        return Error{EINVAL, std::string("filter: ") + key + ": expected YYYY-MM-DD"};
      }
    }
    if (filter.contains("folder") && !IsFolder(filter["folder"].get<std::string>())) {
      return Error{EINVAL, "filter: folder: the name of one, without the '.' before it"};
    }
    return {};
  }

  Result<json> Infer(const std::string& text) override {
    json filter = json::object();
    std::istringstream words(text);
    std::string word, subject;
    while (words >> word) {
      const size_t colon = word.find(':');
      if (colon != std::string::npos) {
        filter[word.substr(0, colon)] = word.substr(colon + 1);
      } else if (word == "unread" || word == "flagged") {
        filter[word] = true;
      } else if (word == "read") {
        filter["unread"] = false;
      } else if (word != "all") {
        subject += (subject.empty() ? "" : " ") + word;
      }
    }
    if (!subject.empty()) filter["subject"] = subject;
    AIRSTORE_TRY(CheckFilter(filter));
    return Result<json>(std::move(filter));
  }

  Result<std::vector<SourceItem>> Query(const json& filter) override {
    AIRSTORE_TRY(CheckFilter(filter));
    const std::string folder = filter.value("folder", std::string(kInbox));
    auto messages = Scan(folder);
    if (!messages) return messages.error();
    std::vector<SourceItem> items;
    for (const auto& [id, message] : *messages) {
      if (Matches(message, filter)) items.push_back(ItemOf(folder, id, message));
    }
    std::sort(items.begin(), items.end(), [](const SourceItem& a, const SourceItem& b) {
      return std::tie(b.mtime, a.name) < std::tie(a.mtime, b.name);
    });
    return items;
  }

  Result<std::string> Read(const std::string& id, uint64_t offset, uint64_t length) override {
    const size_t slash = id.find('/');
    if (slash == std::string::npos) return Error{ENOENT, "result not found"};
    const std::string folder = id.substr(0, slash);
    const std::string unique = id.substr(slash + 1);
    std::string path;
    {
      std::lock_guard lock(mu_);
      const auto known = known_.find(id);
      if (known != known_.end()) path = known->second.path;
    }
    if (!path.empty()) {
      auto data = ReadSome(path_, path, offset, length);
      if (data || data.error().code != ENOENT) return data;
    }
    // Its flags have changed, and so has its name.
    auto messages = Scan(folder);
    if (!messages) return messages.error();
    const auto found = messages->find(unique);
    if (found == messages->end()) return Error{ENOENT, "result not found"};
    return ReadSome(path_, found->second.path, offset, length);
  }

  Result<std::vector<SourceResourceInfo>> Resources(const std::string& type) override {
    std::vector<SourceResourceInfo> folders;
    if (!type.empty() && type != "folder") return folders;
    AIRSTORE_TRY(Check());
    folders.push_back({kInbox, kInbox});
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(path_, error)) {
      const std::string name = entry.path().filename();
      if (name.size() > 1 && name.front() == '.' && entry.is_directory(error) &&
          std::filesystem::is_directory(entry.path() / "cur", error)) {
        folders.push_back({MakeUtf8(name.substr(1)), MakeUtf8(name.substr(1))});
      }
    }
    std::sort(folders.begin() + 1, folders.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
    return folders;
  }

  std::string FilterHelp() const override {
    return "Messages by `from`, `subject` (parts of them), `since`, `before` (YYYY-MM-DD), "
           "`unread`,\n"
           "`flagged` (true or false), `flags`, `without_flags` (letters, as in the maildir) and\n"
           "`folder` (INBOX when absent). As a name or guidance: `from:alice unread report`.\n";
  }

 private:
  static bool Matches(const Message& message, const json& filter) {
    const auto text = [&](const char* key) { return filter.value(key, std::string()); };
    const auto has = [&](char flag) { return message.flags.find(flag) != std::string::npos; };
    const int64_t date = DateOf(message);
    if (!Holds(message.headers.from, text("from"))) return false;
    if (!Holds(message.headers.subject, text("subject"))) return false;
    if (filter.contains("since") && date < *ParseDay(text("since"))) return false;
    if (filter.contains("before") && date >= *ParseDay(text("before"))) return false;
    if (filter.contains("unread") && filter["unread"].get<bool>() == has('S')) return false;
    if (filter.contains("flagged") && filter["flagged"].get<bool>() != has('F')) return false;
    for (const char flag : text("flags")) {
      if (!has(flag)) return false;
    }
    for (const char flag : text("without_flags")) {
      if (has(flag)) return false;
    }
    return true;
  }

  static int64_t DateOf(const Message& message) {
    return message.headers.date != 0 ? message.headers.date : message.mtime;
  }

  static SourceItem ItemOf(const std::string& folder, const std::string& unique,
                           const Message& message) {
    SourceItem item;
    item.id = folder + "/" + unique;
    item.size = message.size;
    item.mtime = DateOf(message);
    char day[16] = "";
    const time_t seconds = item.mtime;
    tm utc{};
    gmtime_r(&seconds, &utc);
    strftime(day, sizeof day, "%Y-%m-%d", &utc);
    char hash[20];
    snprintf(hash, sizeof hash, "%016llx",
             static_cast<unsigned long long>(ContentHash(item.id)));  // names may be alike
    item.name = std::string(day) + "_" + NamePart(message.headers.from, 60) + "_" +
                NamePart(message.headers.subject, 100) + "_" + hash + ".eml";
    item.about = {
        {"name", item.name},  {"from", message.headers.from}, {"subject", message.headers.subject},
        {"date", item.mtime}, {"flags", message.flags},       {"size", message.size}};
    return item;
  }

  // Below the maildir, which may be one itself.
  bool IsLink(const std::string& path) const {
    struct stat st;
    return path != path_ && lstat(path.c_str(), &st) == 0 && S_ISLNK(st.st_mode);
  }

  // By their unique names. Messages do not change: what is known is not read again.
  Result<std::map<std::string, Message>> Scan(const std::string& folder) {
    if (!IsFolder(folder)) return Error{EINVAL, "filter: folder"};
    const std::string root = folder == kInbox ? path_ : path_ + "/." + folder;
    std::map<std::string, Message> messages;
    for (const char* sub : {"/new", "/cur"}) {
      std::error_code error;
      if (IsLink(root) || IsLink(root + sub)) return Error{ENOENT, "there is no folder " + folder};
      for (const auto& entry : std::filesystem::directory_iterator(root + sub, error)) {
        const std::string name = entry.path().filename();
        if (name.front() == '.') continue;
        struct stat st;
        if (lstat(entry.path().c_str(), &st) != 0 || !S_ISREG(st.st_mode)) continue;
        const size_t colon = name.find(':');
        const std::string unique = MakeUtf8(name.substr(0, colon));
        Message message = Know(folder + "/" + unique, entry.path(), st);
        const size_t info = name.find(":2,");
        if (info != std::string::npos) message.flags = MakeUtf8(name.substr(info + 3));
        messages[unique] = std::move(message);
        if (messages.size() > kMostMessages) return Error{EFBIG, "more than 200,000 messages"};
      }
      if (error && error.value() != ENOENT) return SysError(root + sub, error.value());
      if (error && std::string_view(sub) == "/cur") {
        return Error{ENOENT, "there is no folder " + folder};
      }
    }
    return messages;
  }

  Message Know(const std::string& id, const std::string& path, const struct stat& st) {
    {
      std::lock_guard lock(mu_);
      const auto known = known_.find(id);
      if (known != known_.end() && known->second.size == static_cast<uint64_t>(st.st_size) &&
          known->second.mtime == st.st_mtime) {
        known->second.path = path;
        return known->second;
      }
    }
    Message message;
    message.path = path;
    message.size = static_cast<uint64_t>(st.st_size);
    message.mtime = st.st_mtime;
    if (auto head = ReadSome(path_, path, 0, kHeaderBytes))
      message.headers = ParseMailHeaders(*head);
    std::lock_guard lock(mu_);
    if (known_.size() > 2 * kMostMessages) known_.clear();
    return known_[id] = std::move(message);
  }

  std::string path_;  // without a slash at its end
  std::mutex mu_;
  std::map<std::string, Message> known_;  // guarded by mu_, by id
};

}  // namespace

Result<std::unique_ptr<SourceProvider>> OpenMaildir(const std::string& path) {
  return std::unique_ptr<SourceProvider>(std::make_unique<Maildir>(path));
}

}  // namespace airstore::gateway
