// SPDX-License-Identifier: Apache-2.0
//
// What an original gateway does with files: a store of objects by key, with all its ways. A test
// may have it fail, stop half-way, or forget. Threads: any.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace airstore::original {

struct Object {
  std::string data;
  uint32_t mode = S_IFREG | 0644;
  int64_t mtime_s = 0;
  std::string target;  // of a symbolic link
};

struct Told {
  std::string name;
  uint64_t size = 0;
  uint32_t mode = 0;
  int64_t mtime_s = 0;
};

class Gateway {
 public:
  bool first_era = false;
  int64_t now_s = 1'700'000'000;
  std::function<int64_t()> clock;  // instead of now_s
  // Asked before each call with its name and path: a text makes it fail. What `after` answers with
  // is said when the call has had its effect.
  std::function<std::string(const std::string& call, const std::string& path)> before;
  std::function<std::string(const std::string& call, const std::string& path)> after;
  // A rename of a directory moves so many objects and then fails.
  size_t stop_rename_after = SIZE_MAX;
  std::map<std::string, uint64_t> calls;  // how often, by name
  std::map<std::string, Object> objects;  // a directory's own one ends with '/'

  using Answer = std::string;  // empty: ok

  Answer Stat(const std::string& path, Told* told) {
    return Do("Stat", path, [&]() -> Answer {
      if (path.empty()) return *told = {"", 0, S_IFDIR | 0755, 0}, "";
      if (const auto found = objects.find(path); found != objects.end()) {
        return *told = Tell(found->second), "";
      }
      const auto marker = objects.find(path + "/");
      if (marker != objects.end() && !first_era) {
        return *told = {"", 0, marker->second.mode, marker->second.mtime_s}, "";
      }
      if (AnyBelow(path)) return *told = {"", 0, S_IFDIR | 0755, 0}, "";
      return "not found";
    });
  }

  Answer ReadDir(const std::string& path, std::vector<Told>* told) {
    return Do("ReadDir", path, [&]() -> Answer {
      const std::string prefix = path.empty() ? "" : path + "/";
      std::map<std::string, Told> directories;
      std::map<std::string, Told> files;
      size_t keys = 0;
      for (auto at = objects.lower_bound(prefix); at != objects.end() && keys < kPage; ++at) {
        if (at->first.compare(0, prefix.size(), prefix) != 0) break;
        const std::string rest = at->first.substr(prefix.size());
        if (rest.empty()) {
          ++keys;
          continue;
        }
        const size_t slash = rest.find('/');
        const std::string name = rest.substr(0, slash);
        if (slash == std::string::npos) {
          ++keys;
          files[name] = Tell(at->second);
          files[name].name = name;
          if (first_era) files[name].mode = S_IFREG | 0644;
        } else if (!directories.contains(name)) {
          ++keys;
          const auto marker = objects.find(prefix + name + "/");
          directories[name] = {name, 0, S_IFDIR | 0755, 0};
          if (marker != objects.end() && !first_era) {
            directories[name].mode = marker->second.mode;
            directories[name].mtime_s = marker->second.mtime_s;
          }
        }
      }
      for (const auto* group : {&directories, &files}) {
        for (const auto& [name, one] : *group) {
          if (name.rfind("._", 0) != 0 && name != ".DS_Store") told->push_back(one);
        }
      }
      return "";
    });
  }

  Answer ListTree(const std::string& path, int most, const std::string& token,
                  std::vector<Told>* told, std::string* next) {
    return Do("ListTree", path, [&]() -> Answer {
      const std::string prefix = path.empty() ? "" : path + "/";
      auto at = token.empty() ? objects.lower_bound(prefix) : objects.upper_bound(token);
      for (; at != objects.end() && at->first.compare(0, prefix.size(), prefix) == 0; ++at) {
        if (told->size() == static_cast<size_t>(most <= 0 ? 1000 : most)) {
          *next = std::prev(at)->first;
          return "";
        }
        Told one = Tell(at->second);
        one.name = at->first.substr(prefix.size());
        told->push_back(one);
      }
      return "";
    });
  }

  Answer Read(const std::string& path, int64_t offset, int64_t length, std::string* data) {
    return Do("Read", path, [&]() -> Answer {
      const auto found = objects.find(path);
      if (found == objects.end()) return "not found";
      const std::string& all = found->second.data;
      if (offset < 0 || static_cast<size_t>(offset) >= all.size()) {
        return "InvalidRange: The requested range is not satisfiable";
      }
      if (length <= 0 || length > kMost) length = kMost;
      *data = all.substr(static_cast<size_t>(offset), static_cast<size_t>(length));
      return "";
    });
  }

  Answer Write(const std::string& path, int64_t offset, const std::string& data) {
    return Do("Write", path, [&]() -> Answer {
      if (data.size() > kMost) return "data too large";
      Object& object = objects[path];
      if (first_era) object = Object{object.data, S_IFREG | 0644, 0, ""};
      if (offset <= 0) {
        object.data = data;
      } else {
        const auto end = static_cast<size_t>(offset) + data.size();
        if (end > kMost) return "data too large";
        if (object.data.size() < end) object.data.resize(end, '\0');
        object.data.replace(static_cast<size_t>(offset), data.size(), data);
      }
      object.mtime_s = Now();
      return "";
    });
  }

  Answer Create(const std::string& path, uint32_t mode) {
    return Do("Create", path, [&]() -> Answer {
      if (first_era) return objects[path] = Object{"", S_IFREG | 0644, Now(), ""}, "";
      if (mode == 0) mode = 0644;
      objects[path].mode = (objects[path].target.empty() ? S_IFREG : S_IFLNK) | (mode & 07777);
      objects[path].mtime_s = Now();
      return "";
    });
  }

  Answer Mkdir(const std::string& path, uint32_t mode) {
    return Do("Mkdir", path, [&]() -> Answer {
      Object& marker = objects[path + "/"];
      marker.mode = S_IFDIR | (first_era || mode == 0 ? 0755 : mode & 07777);
      marker.mtime_s = Now();
      return "";
    });
  }

  Answer Delete(const std::string& path, bool recursive) {
    return Do("Delete", path, [&]() -> Answer {
      if (path == "Skills" || path == "Sources" || path == "Tools" || path == "Tasks") {
        return "cannot delete reserved folder";
      }
      if (recursive) {
        std::erase_if(objects,
                      [&](const auto& one) { return one.first.rfind(path + "/", 0) == 0; });
      }
      objects.erase(path);
      objects.erase(path + "/");
      return "";
    });
  }

  Answer Rename(const std::string& from, const std::string& to) {
    return Do("Rename", from, [&]() -> Answer {
      const auto found = objects.find(from);
      if (found != objects.end()) {
        Object moved = found->second;
        moved.mtime_s = Now();
        objects.erase(found);
        objects[to] = std::move(moved);
        return "";
      }
      if (first_era) return "NoSuchKey: The specified key does not exist.";
      size_t moved = 0;
      const std::string prefix = from + "/";
      for (auto at = objects.lower_bound(prefix); at != objects.end() && moved < kPage;) {
        if (at->first.compare(0, prefix.size(), prefix) != 0) break;
        if (moved == stop_rename_after) return "rename failed: SlowDown";
        objects[to + "/" + at->first.substr(prefix.size())] = at->second;
        at = objects.erase(at);
        ++moved;
      }
      return moved == 0 ? "rename failed: NoSuchKey" : "";
    });
  }

  Answer Truncate(const std::string& path, int64_t size) {
    return Do("Truncate", path, [&]() -> Answer {
      if (size > kMost) return "size too large";
      Object& object = objects[path];
      object.data.resize(static_cast<size_t>(size < 0 ? 0 : size), '\0');
      object.mtime_s = Now();
      return "";
    });
  }

  Answer Symlink(const std::string& target, const std::string& path) {
    return Do("Symlink", path, [&]() -> Answer {
      objects[path] = Object{target, S_IFLNK | 0777, Now(), target};
      return "";
    });
  }

  Answer Readlink(const std::string& path, std::string* target) {
    return Do("Readlink", path, [&]() -> Answer {
      const auto found = objects.find(path);
      if (found == objects.end()) return "not found";
      if (found->second.target.empty()) return "not a symlink";
      *target = found->second.target;
      return "";
    });
  }

  std::mutex mutex;  // held during a call; `before` and `after` run without

 private:
  static constexpr size_t kPage = 1000;
  static constexpr int64_t kMost = 64 << 20;

  template <typename Call>
  Answer Do(const std::string& name, const std::string& path, Call call) {
    if (before) {
      if (const Answer refused = before(name, path); !refused.empty()) return refused;
    }
    Answer answer;
    {
      const std::lock_guard lock(mutex);
      ++calls[name];
      answer = call();
    }
    if (after) {
      if (const Answer said = after(name, path); !said.empty()) return said;
    }
    return answer;
  }
  int64_t Now() const { return clock ? clock() : now_s; }
  static Told Tell(const Object& object) {
    return {"", object.data.size(), object.mode, object.mtime_s};
  }
  bool AnyBelow(const std::string& path) const {
    const auto at = objects.lower_bound(path + "/");
    return at != objects.end() && at->first.rfind(path + "/", 0) == 0;
  }
};

}  // namespace airstore::original
