// SPDX-License-Identifier: Apache-2.0
#include "frontends/volume/dir_hints.h"

namespace airstore::volume {

DirHint DirHints::Get(uint64_t handle) const {
  const std::lock_guard lock(mutex_);
  const DirHint& hint = hints_[handle % kHints];
  return hint.handle == handle ? hint : DirHint{.handle = handle};
}

void DirHints::Put(const DirHint& hint) {
  const std::lock_guard lock(mutex_);
  hints_[hint.handle % kHints] = hint;
}

}  // namespace airstore::volume
