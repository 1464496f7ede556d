// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/validate.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

namespace airstore::gateway {
namespace {

constexpr size_t kMaxXattrValue = 64 << 10;
constexpr size_t kMaxSymlinkTarget = 4095;

bool IsKnownType(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFCHR:
    case S_IFBLK:
      return true;
    default:
      return false;
  }
}

int CheckXattr(std::string_view name, std::string_view value) {
  if (value.size() > kMaxXattrValue) return E2BIG;
  return CheckXattrName(name);
}

struct Checker {
  int operator()(std::monostate) const { return EINVAL; }

  int operator()(const CreateOp& op) const {
    if (op.ino <= kRootInode || op.ino > INT64_MAX) return EINVAL;
    if (!IsKnownType(op.mode) || (op.mode & ~uint32_t{S_IFMT | 07777}) != 0) return EINVAL;
    const bool is_link = S_ISLNK(op.mode);
    if (is_link != !op.symlink_target.empty()) return EINVAL;
    if (op.symlink_target.size() > kMaxSymlinkTarget) return ENAMETOOLONG;
    if (op.symlink_target.find('\0') != std::string_view::npos) return EINVAL;
    size_t xattr_bytes = 0;
    for (const Xattr& xattr : op.xattrs) {
      if (const int error = CheckXattr(xattr.name, xattr.value); error != 0) return error;
      xattr_bytes += xattr.name.size() + xattr.value.size();
    }
    if (xattr_bytes > kMaxXattrBytes || op.xattrs.size() > kMaxXattrs) return ENOSPC;
    if (op.parent == 0) return S_ISREG(op.mode) && op.name.empty() ? 0 : EINVAL;
    return CheckName(op.name);
  }

  int operator()(const LinkOp& op) const { return CheckName(op.name); }
  int operator()(const UnlinkOp& op) const { return CheckName(op.name); }

  int operator()(const RenameOp& op) const {
    if (op.flags != 0 && op.flags != kRenameNoReplace && op.flags != kRenameExchange) return EINVAL;
    if (op.whiteout != 0 &&
        (op.flags == kRenameExchange || op.whiteout <= kRootInode || op.whiteout > INT64_MAX)) {
      return EINVAL;
    }
    const int error = CheckName(op.old_name);
    return error != 0 ? error : CheckName(op.new_name);
  }

  int operator()(const SetAttrOp& op) const {
    if (op.mode && (*op.mode & ~uint32_t{S_IFMT | 07777}) != 0) return EINVAL;
    return op.size ? CheckRange(0, *op.size) : 0;
  }

  int operator()(const WriteOp& op) const {
    if (op.size) {
      if (const int error = CheckRange(0, *op.size); error != 0) return error;
    }
    for (const WriteExtent& e : op.extents) {
      if (e.length == 0 || std::holds_alternative<std::monostate>(e.source)) return EINVAL;
      if (const int error = CheckRange(e.offset, e.length); error != 0) return error;
      if (const auto* data = std::get_if<std::string_view>(&e.source)) {
        if (data->size() != e.length || e.length > kBlockBytes) return EINVAL;
      }
      if (const auto* block = std::get_if<BlockSource>(&e.source)) {
        if (e.length > kBlockBytes || block->offset > kBlockBytes - e.length) return EINVAL;
      }
    }
    return 0;
  }

  int operator()(const SetXattrOp& op) const {
    if (op.flags > kXattrReplace) return EINVAL;
    if (op.mode && (*op.mode & ~uint32_t{07777}) != 0) return EINVAL;
    return CheckXattr(op.name, op.value);
  }

  int operator()(const RemoveXattrOp& op) const { return CheckXattrName(op.name); }
  int operator()(const TouchOp&) const { return 0; }
};

}  // namespace

int CheckName(std::string_view name) {
  if (name.empty() || name == "." || name == "..") return EINVAL;
  if (name.size() > 255) return ENAMETOOLONG;
  return name.find_first_of(std::string_view("/\0", 2)) == std::string_view::npos ? 0 : EINVAL;
}

int CheckXattrName(std::string_view name) {
  if (name.empty() || name.find('\0') != std::string_view::npos) return EINVAL;
  return name.size() > 255 ? ERANGE : 0;
}

int CheckRange(uint64_t offset, uint64_t length) {
  return length > kMaxFileBytes || offset > kMaxFileBytes - length ? EFBIG : 0;
}

int CheckMutation(const Mutation& mutation) { return std::visit(Checker{}, mutation.op); }

bool IsWorkspaceName(std::string_view name) {
  if (name.empty() || name.size() > 64 || name.front() == '.') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

std::string NoWorkspace(std::string_view name) {
  return "there is no workspace '" + std::string(name.substr(0, 64)) +
         "' ('airctl workspace list' lists them)";
}

bool IsPrincipal(std::string_view principal) {
  if (principal.empty() || principal.size() > 128) return false;
  return std::all_of(principal.begin(), principal.end(),
                     [](char c) { return c > ' ' && c < 0x7f; });
}

}  // namespace airstore::gateway
