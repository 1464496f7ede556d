// SPDX-License-Identifier: Apache-2.0
#include "shm/posix_acl.h"

#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace airstore::shm {
namespace {

constexpr uint32_t kPermissionBits = 0777;

Error Invalid() { return Error{EINVAL, "access control list"}; }

// In the order that a list has them.
int Rank(uint16_t tag) {
  switch (tag) {
    case ACL_USER_OBJ:
      return 0;
    case ACL_USER:
      return 1;
    case ACL_GROUP_OBJ:
      return 2;
    case ACL_GROUP:
      return 3;
    case ACL_MASK:
      return 4;
    case ACL_OTHER:
      return 5;
    default:
      return -1;
  }
}

}  // namespace

Result<PosixAcl> PosixAcl::Parse(std::string_view value) {
  posix_acl_xattr_header header;
  if (value.size() < sizeof(header)) return Invalid();
  memcpy(&header, value.data(), sizeof(header));
  if (header.a_version != POSIX_ACL_XATTR_VERSION) return Error{EOPNOTSUPP, "version of a list"};
  value.remove_prefix(sizeof(header));
  if (value.size() % sizeof(posix_acl_xattr_entry) != 0) return Invalid();
  PosixAcl acl;
  int rank = -1;
  int seen[6] = {};
  for (; !value.empty(); value.remove_prefix(sizeof(posix_acl_xattr_entry))) {
    posix_acl_xattr_entry entry;
    memcpy(&entry, value.data(), sizeof(entry));
    const int its = Rank(entry.e_tag);
    const bool named = entry.e_tag == ACL_USER || entry.e_tag == ACL_GROUP;
    if (its < 0 || its < rank || (entry.e_perm & ~7u) != 0) return Invalid();
    if (++seen[its] > 1 && !named) return Invalid();
    rank = its;
    acl.entries_.push_back(
        {entry.e_tag, entry.e_perm, named ? entry.e_id : static_cast<uint32_t>(ACL_UNDEFINED_ID)});
  }
  if (acl.entries_.empty()) return acl;
  const bool named = seen[1] + seen[3] != 0;
  if (seen[0] != 1 || seen[2] != 1 || seen[5] != 1 || (named && seen[4] != 1)) return Invalid();
  return acl;
}

std::string PosixAcl::Encode() const {
  const posix_acl_xattr_header header{POSIX_ACL_XATTR_VERSION};
  std::string out(reinterpret_cast<const char*>(&header), sizeof(header));
  for (const Entry& entry : entries_) {
    const posix_acl_xattr_entry raw{entry.tag, entry.permissions, entry.id};
    out.append(reinterpret_cast<const char*>(&raw), sizeof(raw));
  }
  return out;
}

const PosixAcl::Entry* PosixAcl::Find(uint16_t tag) const {
  for (const Entry& entry : entries_) {
    if (entry.tag == tag) return &entry;
  }
  return nullptr;
}

PosixAcl::Entry* PosixAcl::Find(uint16_t tag) {
  return const_cast<Entry*>(std::as_const(*this).Find(tag));
}

bool PosixAcl::ToMode(uint32_t* mode) const {
  uint32_t bits = 0;
  bool all = true;
  for (const Entry& entry : entries_) {
    switch (entry.tag) {
      case ACL_USER_OBJ:
        bits |= uint32_t{entry.permissions} << 6;
        break;
      case ACL_GROUP_OBJ:
        bits |= uint32_t{entry.permissions} << 3;
        break;
      case ACL_OTHER:
        bits |= entry.permissions;
        break;
      case ACL_MASK:
        bits = (bits & ~070u) | uint32_t{entry.permissions} << 3;
        all = false;
        break;
      default:
        all = false;
        break;
    }
  }
  *mode = (*mode & ~kPermissionBits) | bits;
  return all;
}

void PosixAcl::SetMode(uint32_t mode) {
  Entry* group = Find(ACL_MASK);
  if (group == nullptr) group = Find(ACL_GROUP_OBJ);
  if (Entry* owner = Find(ACL_USER_OBJ)) owner->permissions = mode >> 6 & 7;
  if (group != nullptr) group->permissions = mode >> 3 & 7;
  if (Entry* other = Find(ACL_OTHER)) other->permissions = mode & 7;
}

bool PosixAcl::Inherit(uint32_t* mode) {
  Entry* owner = Find(ACL_USER_OBJ);
  Entry* mask = Find(ACL_MASK);
  Entry* group = mask != nullptr ? mask : Find(ACL_GROUP_OBJ);
  Entry* other = Find(ACL_OTHER);
  if (owner == nullptr || group == nullptr || other == nullptr) return true;
  owner->permissions &= static_cast<uint16_t>(*mode >> 6 & 7);
  group->permissions &= static_cast<uint16_t>(*mode >> 3 & 7);
  other->permissions &= static_cast<uint16_t>(*mode & 7);
  *mode = (*mode & ~kPermissionBits) | uint32_t{owner->permissions} << 6 |
          uint32_t{group->permissions} << 3 | other->permissions;
  return entries_.size() == 3;
}

// The first entry of the user counts, or any one of the groups they are in that grants all of it;
// who is in none is other. The mask limits all but other.
bool PosixAcl::Grants(uint32_t uid, bool owning_group,
                      const std::function<bool(uint32_t)>& in_group, uint32_t wanted) const {
  const Entry* const mask = Find(ACL_MASK);
  const uint32_t limit = mask != nullptr ? mask->permissions : 7u;
  bool listed = false;
  for (const Entry& entry : entries_) {
    const bool all = (entry.permissions & wanted) == wanted;
    switch (entry.tag) {
      case ACL_USER:
        if (entry.id == uid) return (entry.permissions & limit & wanted) == wanted;
        break;
      case ACL_GROUP_OBJ:
      case ACL_GROUP:
        if (!(entry.tag == ACL_GROUP_OBJ ? owning_group : in_group(entry.id))) break;
        listed = true;
        if (all) return (limit & wanted) == wanted;
        break;
      case ACL_OTHER:
        return !listed && all;
      default:
        break;
    }
  }
  return false;
}

}  // namespace airstore::shm
