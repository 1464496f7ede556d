// SPDX-License-Identifier: Apache-2.0
//
// A source: something outside of workspaces that can be asked with a filter, and answers files.
//
// Threads: all of it from any.
// Fails: EINVAL with what is wrong with a filter; ENOENT when a result has gone; what the source
// says otherwise.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/base/result.h"

namespace airstore::gateway {

struct SourceItem {
  std::string name;  // a file name, UTF-8, no other result of the same query has it
  std::string id;    // for Read(); stable
  uint64_t size = 0;
  int64_t mtime = 0;                   // seconds
  std::optional<std::string> content;  // where the whole was at hand anyway
  nlohmann::json about;                // for views that are one file
};

struct SourceResourceInfo {
  std::string id, name;
};

class SourceProvider {
 public:
  virtual ~SourceProvider() = default;
  // Whether it can be reached; an error says why not.
  virtual Result<void> Check() = 0;
  // What a text means as a filter: words "key:value", and words that need no key.
  virtual Result<nlohmann::json> Infer(const std::string& text) = 0;
  virtual Result<void> CheckFilter(const nlohmann::json& filter) = 0;
  virtual Result<std::vector<SourceItem>> Query(const nlohmann::json& filter) = 0;
  // `length` 0: to the end. Behind the end: nothing.
  virtual Result<std::string> Read(const std::string& id, uint64_t offset, uint64_t length) = 0;
  // Of a type, "" for all: what filters may name.
  virtual Result<std::vector<SourceResourceInfo>> Resources(const std::string& type) = 0;
  virtual std::string FilterHelp() const = 0;  // Markdown
};

// A part of a file name: what is not a letter, a digit or harmless becomes '_', cut at `most` bytes
// between characters.
std::string NamePart(std::string_view text, size_t most);
// Valid UTF-8 of it, what is none replaced.
std::string MakeUtf8(std::string_view text);

// Checks that a filter is an object with these keys of these types ("string", "boolean", "number").
struct FilterKey {
  const char* name;
  const char* type;
};
Result<void> CheckKeys(const nlohmann::json& filter, const std::vector<FilterKey>& keys);

// "2026-01-31" as seconds since the epoch, at 0:00 UTC.
std::optional<int64_t> ParseDay(const std::string& text);

Result<std::unique_ptr<SourceProvider>> OpenMaildir(const std::string& path);
Result<std::unique_ptr<SourceProvider>> OpenGit(const std::string& path);

}  // namespace airstore::gateway
