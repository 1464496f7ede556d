// SPDX-License-Identifier: Apache-2.0
//
// Which tools there are, and for whom.
//
// Threads: any, after construction. Ownership: owns the tools.
#pragma once

#include <memory>

#include "tools/gateway/config.h"
#include "tools/gateway/tools/tool.h"

namespace airstore::gateway {

class ToolSet {
 public:
  explicit ToolSet(const Config& config);
  // Null: there is none, or not for this workspace.
  Tool* Find(const std::string& name, const std::string& workspace) const;
  std::vector<Tool*> List(const std::string& workspace) const;  // by name

 private:
  std::vector<Offered<std::unique_ptr<Tool>>> tools_;
};

}  // namespace airstore::gateway
