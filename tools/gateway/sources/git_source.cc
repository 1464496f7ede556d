// SPDX-License-Identifier: Apache-2.0
//
// A local git repository as a source: its log, patches, branches, tags and diffs, by the git
// program. One run answers a query with all contents, so sizes are true.
#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>
#include <sstream>

#include "tools/gateway/auth.h"
#include "tools/gateway/sources/provider.h"
#include "tools/gateway/tools/process.h"

namespace airstore::gateway {
namespace {

using nlohmann::json;

constexpr size_t kMostBytes = 64u << 20;  // of one answer of git
constexpr int64_t kMostCommits = 10'000;

class Git final : public SourceProvider {
 public:
  explicit Git(std::string path) : path_(std::move(path)) {}

  Result<void> Check() override {
    auto answer = Run({"rev-parse", "--git-dir"});
    if (!answer) return Error{ENOTCONN, path_ + " is not a git repository"};
    return {};
  }

  Result<void> CheckFilter(const json& filter) override {
    AIRSTORE_TRY(CheckKeys(filter, {{"kind", "string"},
                                    {"branch", "string"},
                                    {"author", "string"},
                                    {"since", "string"},
                                    {"before", "string"},
                                    {"path", "string"},
                                    {"message", "string"},
                                    {"from", "string"},
                                    {"to", "string"},
                                    {"most", "number"}}));
    const std::string kind = filter.value("kind", std::string("log"));
    if (kind != "log" && kind != "patches" && kind != "branches" && kind != "tags" &&
        kind != "diff") {
      return Error{EINVAL, "filter: kind: log, patches, branches, tags or diff"};
    }
    if (kind == "diff" && !filter.contains("from")) {
      return Error{EINVAL, "filter: a diff needs \"from\""};
    }
    for (const auto& [key, value] : filter.items()) {
      if (value.is_string() && (value.get<std::string>().starts_with("-") ||
                                value.get<std::string>().find('\0') != std::string::npos)) {
        return Error{EINVAL, "filter: " + key + ": must not begin with '-'"};
      }
    }
    return {};
  }

  Result<json> Infer(const std::string& text) override {
    json filter = json::object();
    std::istringstream words(text);
    std::string word, message;
    while (words >> word) {
      const size_t colon = word.find(':');
      if (colon != std::string::npos) {
        filter[word.substr(0, colon)] = word.substr(colon + 1);
      } else if (word == "log" || word == "patches" || word == "branches" || word == "tags") {
        filter["kind"] = word;
      } else {
        message += (message.empty() ? "" : " ") + word;
      }
    }
    if (!message.empty()) filter["message"] = message;
    AIRSTORE_TRY(CheckFilter(filter));
    return Result<json>(std::move(filter));
  }

  Result<std::vector<SourceItem>> Query(const json& filter) override {
    AIRSTORE_TRY(CheckFilter(filter));
    const std::string kind = filter.value("kind", std::string("log"));
    if (kind == "branches") return Refs("refs/heads");
    if (kind == "tags") return Refs("refs/tags");
    if (kind == "diff") return Diff(filter);
    return Log(filter, kind == "patches");
  }

  // All content comes with queries; this is for who has kept an id.
  Result<std::string> Read(const std::string& id, uint64_t offset, uint64_t length) override {
    const size_t colon = id.find(':');
    const std::string kind = id.substr(0, colon);
    const std::string object = colon == std::string::npos ? "" : id.substr(colon + 1);
    if (object.empty() || object.find_first_not_of("0123456789abcdef") != std::string::npos) {
      return Error{ENOENT, "result not found"};
    }
    auto text = Run({"show", "--no-ext-diff", "--no-textconv", Format(""),
                     kind == "patch" ? "-p" : "-s", object});
    if (!text) return Error{ENOENT, "result not found"};
    std::string content = CutMark(*text);
    if (offset >= content.size()) return std::string();
    return content.substr(offset, length == 0 ? std::string::npos : length);
  }

  Result<std::vector<SourceResourceInfo>> Resources(const std::string& type) override {
    std::vector<SourceResourceInfo> resources;
    for (const auto& [name, root] :
         {std::pair{"branch", "refs/heads"}, std::pair{"tag", "refs/tags"}}) {
      if (!type.empty() && type != name) continue;
      auto refs = Run({"for-each-ref", "--format=%(refname:short)", root});
      if (!refs) return refs.error();
      std::istringstream lines(*refs);
      for (std::string line; std::getline(lines, line);) {
        resources.push_back({MakeUtf8(line), MakeUtf8(line)});
      }
    }
    return resources;
  }

  std::string FilterHelp() const override {
    return "`kind`: log, patches, branches, tags or diff. Of log and patches: `branch`, `author`,\n"
           "`since`, `before`, `path`, `message`, `most` (1000 when absent). Of diff: `from` and "
           "`to`\n"
           "(HEAD when absent). As a name or guidance: `patches author:alice branch:main`.\n";
  }

 private:
  using Words = std::vector<std::string>;
  // A mark, then what the name is made of, then a NUL, then the content. Files may hold a NUL, but
  // not the mark, which nobody knows before.
  static std::string Format(const std::string& mark) {
    return "--format=tformat:%x00" + mark +
           "%H %ct %s%x00commit %H%nAuthor: %an <%ae>%nDate: %aI%n%n%B";
  }

  Result<std::string> Run(const Words& words) {
    ProcessSpec spec;
    std::error_code error;
    const std::string own = std::filesystem::canonical(path_, error);
    spec.command = {"git", "-C", path_, "--no-pager", "--no-optional-locks"};
    // Whoever may write to the repository is not to say what runs here: no programs of its
    // configuration, and nothing is fetched that a partial clone does not have.
    for (const std::string& setting :
         {"safe.directory=" + own, std::string("core.quotePath=false"),
          std::string("log.showSignature=false"), std::string("core.fsmonitor=false"),
          std::string("core.hooksPath=/dev/null"), std::string("diff.submodule=short"),
          std::string("protocol.allow=never")}) {
      spec.command.insert(spec.command.end(), {"-c", setting});
    }
    spec.command.insert(spec.command.end(), words.begin(), words.end());
    spec.environment = {{"GIT_TERMINAL_PROMPT", "0"},
                        {"GIT_NO_LAZY_FETCH", "1"},
                        {"LC_ALL", "C.UTF-8"},
                        {"TZ", "UTC"}};
    std::string out, err;
    const Cancel never;
    auto code = RunProcess(
        spec,
        [&](Stream stream, std::string_view data) {
          std::string& text = stream == Stream::kOut ? out : err;
          text.append(data);
          return text.size() <= kMostBytes;
        },
        never);
    if (!code && code.error().code == ECANCELED) {
      return Error{EFBIG, "more than 64 MiB: a narrower filter is needed"};
    }
    if (!code) return code.error();
    if (*code != 0) return Error{EINVAL, "git: " + MakeUtf8(err.substr(0, err.find('\n')))};
    return out;
  }

  static std::string CutMark(const std::string& text) {
    const size_t mark = text.find('\0', 1);
    return mark == std::string::npos ? text : text.substr(mark + 1);
  }

  Result<std::vector<SourceItem>> Log(const json& filter, bool patches) {
    const std::string mark = NewTokenId();
    Words words = {"log", "--no-ext-diff", "--no-textconv", Format(mark)};
    words.push_back(patches ? "-p" : "-s");
    const int64_t most = filter.contains("most") && filter["most"].is_number_integer()
                             ? filter["most"].get<int64_t>()
                             : 1000;
    words.push_back("--max-count=" + std::to_string(std::clamp<int64_t>(most, 1, kMostCommits)));
    const auto option = [&](const char* key, const char* flag) {
      if (filter.contains(key)) words.push_back(flag + filter[key].get<std::string>());
    };
    option("author", "--author=");
    option("since", "--since=");
    option("before", "--before=");
    option("message", "--grep=");
    words.push_back("--end-of-options");
    words.push_back(filter.value("branch", std::string("HEAD")));
    words.push_back("--");
    if (filter.contains("path")) words.push_back(filter["path"].get<std::string>());
    auto text = Run(words);
    if (!text) {
      // A repository without a commit has no HEAD.
      auto any = Run({"rev-list", "--all", "--max-count=1"});
      if (any && any->empty()) return std::vector<SourceItem>();
      return text.error();
    }
    std::vector<SourceItem> items;
    std::string_view rest = *text;
    const std::string begin = std::string(1, '\0') + mark;
    while (rest.starts_with(begin)) {
      rest.remove_prefix(begin.size());
      const size_t head_end = rest.find('\0');
      if (head_end == std::string_view::npos) break;
      std::istringstream head(std::string(rest.substr(0, head_end)));
      const size_t next = std::min(rest.find(begin, head_end + 1), rest.size());
      std::string hash, subject;
      int64_t seconds = 0;
      head >> hash >> seconds;
      std::getline(head, subject);
      items.push_back(
          Item((patches ? "patch:" : "commit:") + hash, seconds,
               hash.substr(0, 12) + "_" + NamePart(subject, 100) + (patches ? ".patch" : ".txt"),
               std::string(rest.substr(head_end + 1, next - head_end - 1))));
      items.back().about["commit"] = hash;
      items.back().about["subject"] = MakeUtf8(subject.substr(subject.empty() ? 0 : 1));
      rest.remove_prefix(next);
    }
    return items;
  }

  static SourceItem Item(std::string id, int64_t seconds, std::string name, std::string content) {
    SourceItem item;
    item.id = std::move(id);
    item.name = std::move(name);
    item.size = content.size();
    item.mtime = seconds;
    item.content = std::move(content);
    item.about = {{"name", item.name}, {"date", seconds}, {"size", item.size}};
    return item;
  }

  Result<std::vector<SourceItem>> Refs(const std::string& root) {
    auto text =
        Run({"for-each-ref", "--sort=-creatordate",
             "--format=%(refname:short)%00%(creatordate:unix)%00%(objectname)%00%(subject)", root});
    if (!text) return text.error();
    std::vector<SourceItem> items;
    std::istringstream lines(*text);
    std::map<std::string, int> taken;
    for (std::string line; std::getline(lines, line);) {
      std::istringstream fields(line);
      std::string name, seconds, hash, subject;
      std::getline(fields, name, '\0');
      std::getline(fields, seconds, '\0');
      std::getline(fields, hash, '\0');
      std::getline(fields, subject, '\0');
      std::string file = NamePart(name, 180);
      if (const int n = taken[file]++; n > 0) file += "_" + hash.substr(0, 12);
      items.push_back(Item("commit:" + hash, strtoll(seconds.c_str(), nullptr, 10), file + ".txt",
                           name + " " + hash + "\n" + subject + "\n"));
      items.back().about["ref"] = MakeUtf8(name);
      items.back().about["commit"] = hash;
    }
    return items;
  }

  Result<std::vector<SourceItem>> Diff(const json& filter) {
    const std::string from = filter["from"].get<std::string>();
    const std::string to = filter.value("to", std::string("HEAD"));
    Words words = {"diff", "--no-ext-diff", "--no-textconv", "--end-of-options", from, to, "--"};
    if (filter.contains("path")) words.push_back(filter["path"].get<std::string>());
    auto text = Run(words);
    if (!text) return text.error();
    auto when = Run({"log", "-1", "--format=%ct", "--end-of-options", to, "--"});
    std::vector<SourceItem> items;
    items.push_back(Item("diff:" + from + ".." + to, when ? strtoll(when->c_str(), nullptr, 10) : 0,
                         NamePart(from, 80) + ".." + NamePart(to, 80) + ".diff", std::move(*text)));
    return items;
  }

  const std::string path_;
};

}  // namespace

Result<std::unique_ptr<SourceProvider>> OpenGit(const std::string& path) {
  return std::unique_ptr<SourceProvider>(std::make_unique<Git>(path));
}

}  // namespace airstore::gateway
