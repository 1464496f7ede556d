// SPDX-License-Identifier: Apache-2.0
//
// POSIX access control lists as Linux keeps them in extended attributes: their part in the
// permission bits of a mode, and what they grant, where the kernel does not check that itself.
//
// Threads: any; plain values.
// Fails: EINVAL when the bytes are no valid list.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/base/result.h"
#include "shm/xattr_names.h"

namespace airstore::shm {

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
  // Whether it grants all of `wanted` (4: read, 2: write, 1: execute) to somebody who is not the
  // file's owner. `owning_group`: they are in the file's group; `in_group`: whether they are in
  // that one, asked in the list's order.
  bool Grants(uint32_t uid, bool owning_group, const std::function<bool(uint32_t)>& in_group,
              uint32_t wanted) const;

 private:
  struct Entry {
    uint16_t tag = 0;
    uint16_t permissions = 0;
    uint32_t id = 0;
  };
  Entry* Find(uint16_t tag);
  const Entry* Find(uint16_t tag) const;

  std::vector<Entry> entries_;
};

}  // namespace airstore::shm
