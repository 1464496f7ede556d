// SPDX-License-Identifier: Apache-2.0
//
// POSIX access control lists as Linux keeps them in extended attributes, and their part in the
// permission bits of a mode. The kernel checks access by them; what they do to modes is ours.
//
// Threads: any; plain values.
// Fails: EINVAL when the bytes are no valid list.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/base/result.h"
#include "shm/xattr_names.h"

namespace airstore::broker {

using shm::kAccessAcl;
using shm::kDefaultAcl;

class PosixAcl {
 public:
  // Of an attribute's value; a list without entries is none.
  static Result<PosixAcl> Parse(std::string_view value);
  std::string Encode() const;

  bool empty() const { return entries_.empty(); }
  // Takes the permission bits out of the list. True: they say all that the list says.
  bool ToMode(uint32_t* mode) const;
  // As chmod(2) does: the list follows the mode.
  void SetMode(uint32_t mode);
  // Becomes the list of a new file that is made with this mode, which is reduced by the list.
  // True: the mode alone says as much.
  bool Inherit(uint32_t* mode);

 private:
  struct Entry {
    uint16_t tag = 0;
    uint16_t permissions = 0;
    uint32_t id = 0;
  };
  Entry* Find(uint16_t tag);

  std::vector<Entry> entries_;
};

}  // namespace airstore::broker
