// SPDX-License-Identifier: Apache-2.0
//
// VirtualRegistry: which node serves which name of the root. Everything else is storage's.
// Threads: the event loop.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "broker/virtual/node.h"

namespace airstore::broker {

class VirtualRegistry {
 public:
  struct Place {
    std::string prefix;                 // the name in the root
    std::shared_ptr<VirtualNode> node;  // nullptr: storage
    bool shown = false;                 // its name is in the root
    bool absent = false;                // the gateway does not have the service
  };

  // The first one that is registered for a name has it. REQUIRES: one component.
  void Register(std::string prefix, std::shared_ptr<VirtualNode> node);
  // nullptr: storage's. `rest`: the path below the node.
  Place* Find(std::string_view path, std::string* rest);
  std::map<std::string, Place, std::less<>>& places() { return places_; }

 private:
  std::map<std::string, Place, std::less<>> places_;
};

}  // namespace airstore::broker
