// SPDX-License-Identifier: Apache-2.0
//
// A tool as ToolService sees it: something with a name that is run with arguments.
//
// Threads: all of it from any, and several runs at once.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "tools/gateway/tools/process.h"

namespace airstore::gateway {

struct ToolRun {
  std::vector<std::string> arguments;
  std::string workspace;  // name, of the caller
  Output output;
  const Cancel* cancel = nullptr;
};

struct ToolEnd {
  int exit_code = 0;
  std::string error;  // for people; empty when the tool has run, whatever its exit code
};

class Tool {
 public:
  virtual ~Tool() = default;
  virtual const std::string& name() const = 0;
  virtual std::string summary() const = 0;                     // one line; asks nobody
  virtual Result<std::string> Help(const Cancel& cancel) = 0;  // may have to start something
  virtual bool for_read_only() const = 0;       // it may be run with a token that is read-only
  virtual ToolEnd Run(const ToolRun& run) = 0;  // blocks until it has ended
};

// One component of a path, since mounts show tools as files.
bool IsToolName(std::string_view name);

}  // namespace airstore::gateway
