// SPDX-License-Identifier: Apache-2.0
//
// The table of configuration keys, which the file, the environment and the flags share.
// Threads: constant.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "broker/options.h"

namespace airstore::broker {

struct OptionKey {
  using Text = std::string Options::*;
  using Size = uint64_t Options::*;
  using Count = uint32_t Options::*;
  using Flag = bool Options::*;
  // The key counts this when it gets a bare number.
  struct Duration {
    std::chrono::milliseconds Options::*member;
    std::chrono::milliseconds bare_unit;
  };

  const char* name;  // as in the file; --with-dashes as a flag, AIRSTORE_UPPERCASE as a variable
  std::variant<Text, Size, Count, Flag, Duration> target;
  const char* placeholder;
  const char* help;
};

const std::vector<OptionKey>& OptionKeys();

// "a size such as \"512MiB\""
std::string Expected(const OptionKey& key);
// The error's message says what was expected.
Result<void> SetOption(Options& options, const OptionKey& key, const std::string& text);
std::string GetOption(const Options& options, const OptionKey& key);

// "file.toml:3: slab_limit: expected ..." for what is wrong.
Result<void> ReadOptionsFile(const std::string& path, Options& options);

Options DefaultOptions(const GetEnv& getenv);
// What no single key can tell: files that are missing, pairs that need each other.
Result<void> CheckOptions(const Options& options);
// Of a configuration that is only looked at: whether its directories are there, or can be made.
Result<void> CheckDirectories(const Options& options);

}  // namespace airstore::broker
