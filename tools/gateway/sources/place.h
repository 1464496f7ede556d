// SPDX-License-Identifier: Apache-2.0
//
// What a path below the sources names.
#pragma once

#include "tools/gateway/sources/source_set.h"

namespace airstore::gateway {

struct SourceSet::Place {
  enum Kind { kRoot, kIntegration, kReadme, kFolder, kFileView, kDefinition, kResult };
  Kind kind = kRoot;
  Source* source = nullptr;
  ViewRecord view;
  std::shared_ptr<const SourceItem> item;  // of kResult; keeps its query's results
};

}  // namespace airstore::gateway
