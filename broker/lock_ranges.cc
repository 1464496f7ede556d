// SPDX-License-Identifier: Apache-2.0
#include "broker/lock_ranges.h"

#include <algorithm>

namespace airstore::broker {
namespace {

bool Overlaps(const LockRange& a, const LockRange& b) {
  return a.first <= b.last && b.first <= a.last;
}

bool InTheWay(const LockRange& held, const LockRange& wanted) {
  return held.owner != wanted.owner && Overlaps(held, wanted) && wanted.type != LockType::kUnlock &&
         (held.type == LockType::kExclusive || wanted.type == LockType::kExclusive);
}

}  // namespace

const LockRange* LockRanges::Conflict(const LockRange& wanted) const {
  const LockRange* first = nullptr;
  for (const LockRange& held : held_) {
    if (InTheWay(held, wanted) && (first == nullptr || held.first < first->first)) first = &held;
  }
  return first;
}

std::vector<LockOwner> LockRanges::Holders(const LockRange& wanted) const {
  std::vector<LockOwner> holders;
  for (const LockRange& held : held_) {
    if (InTheWay(held, wanted)) holders.push_back(held.owner);
  }
  std::sort(holders.begin(), holders.end());
  holders.erase(std::unique(holders.begin(), holders.end()), holders.end());
  return holders;
}

void LockRanges::Set(const LockRange& wanted) {
  LockRange joined = wanted;
  std::vector<LockRange> rest;
  std::erase_if(held_, [&](const LockRange& held) {
    if (held.owner != wanted.owner) return false;
    if (held.type == wanted.type) {
      // Touching is enough to become one.
      const bool apart = (held.last != UINT64_MAX && held.last + 1 < joined.first) ||
                         (joined.last != UINT64_MAX && joined.last + 1 < held.first);
      if (apart) return false;
      joined.first = std::min(joined.first, held.first);
      joined.last = std::max(joined.last, held.last);
      return true;
    }
    if (!Overlaps(held, wanted)) return false;
    if (held.first < wanted.first) {
      rest.push_back(held);
      rest.back().last = wanted.first - 1;
    }
    if (held.last > wanted.last) {
      rest.push_back(held);
      rest.back().first = wanted.last + 1;
    }
    return true;
  });
  held_.insert(held_.end(), rest.begin(), rest.end());
  if (wanted.type != LockType::kUnlock) held_.push_back(joined);
}

bool LockRanges::Drop(const LockOwner& owner) {
  return std::erase_if(held_, [&](const LockRange& held) { return held.owner == owner; }) != 0;
}

bool LockRanges::Has(const LockOwner& owner) const {
  return std::any_of(held_.begin(), held_.end(),
                     [&](const LockRange& held) { return held.owner == owner; });
}

}  // namespace airstore::broker
