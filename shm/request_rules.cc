// SPDX-License-Identifier: Apache-2.0
#include "shm/request_rules.h"

#include <cerrno>

namespace airstore::shm {
namespace {

enum class Text { kNone, kName, kTarget, kXattr, kValue };

struct Texts {
  Text name;
  Text name2;
  bool known;
};

// No default: the compiler asks for a line when an operation is added.
Texts TextsOf(Op op) {
  switch (op) {
    case Op::kNone:
      break;
    case Op::kLookup:
    case Op::kMknod:
    case Op::kMkdir:
    case Op::kUnlink:
    case Op::kRmdir:
    case Op::kLink:
    case Op::kCreate:
      return {Text::kName, Text::kNone, true};
    case Op::kSymlink:
      return {Text::kName, Text::kTarget, true};
    case Op::kRename:
      return {Text::kName, Text::kName, true};
    case Op::kGetxattr:
    case Op::kRemovexattr:
      return {Text::kXattr, Text::kNone, true};
    case Op::kSetxattr:
      return {Text::kXattr, Text::kValue, true};
    case Op::kGetattr:
    case Op::kSetattr:
    case Op::kReadlink:
    case Op::kOpen:
    case Op::kFsync:
    case Op::kFlush:
    case Op::kReadRange:
    case Op::kContentFd:
    case Op::kLoadListing:
    case Op::kStatfs:
    case Op::kListxattr:
    case Op::kFallocate:
    case Op::kSeek:
    case Op::kTmpfile:
    case Op::kSetLock:
    case Op::kGetLock:
    case Op::kFlushLocks:
    case Op::kReleaseLocks:
    case Op::kAppend:
    case Op::kCopyRange:
      return {Text::kNone, Text::kNone, true};
  }
  return {Text::kNone, Text::kNone, false};
}

bool IsDots(std::string_view name) { return name == "." || name == ".."; }

int CheckText(Text rule, std::string_view text) {
  if (rule == Text::kNone) return text.empty() ? 0 : EINVAL;
  if (rule == Text::kValue) return text.size() > kMaxXattrValue ? E2BIG : 0;
  if (text.empty()) return EINVAL;
  if (text.size() > (rule == Text::kTarget ? kMaxSymlinkTarget : kMaxName)) {
    return rule == Text::kXattr ? ERANGE : ENAMETOOLONG;
  }
  if (text.find('\0') != std::string_view::npos) return EINVAL;
  if (rule == Text::kName && text.find('/') != std::string_view::npos) return EINVAL;
  return 0;
}

}  // namespace

int CheckRequest(const RequestArgs& args, std::string_view name, std::string_view name2) {
  const Texts texts = TextsOf(static_cast<Op>(args.op));
  if (!texts.known) return EINVAL;
  if (const int error = CheckText(texts.name, name); error != 0) return error;
  if (const int error = CheckText(texts.name2, name2); error != 0) return error;
  const bool dots =
      (texts.name == Text::kName && IsDots(name)) || (texts.name2 == Text::kName && IsDots(name2));
  return dots && static_cast<Op>(args.op) != Op::kLookup ? EINVAL : 0;
}

bool HasEffect(Op op) {
  switch (op) {
    case Op::kSetattr:
    case Op::kMknod:
    case Op::kMkdir:
    case Op::kUnlink:
    case Op::kRmdir:
    case Op::kSymlink:
    case Op::kRename:
    case Op::kLink:
    case Op::kOpen:  // counts the open
    case Op::kCreate:
    case Op::kTmpfile:
    case Op::kSetxattr:
    case Op::kRemovexattr:
    case Op::kFallocate:
    case Op::kFsync:  // these two report an error once
    case Op::kFlush:
    case Op::kAppend:
    case Op::kCopyRange:  // source and target may be others by the second time
      return true;
    case Op::kNone:
    case Op::kLookup:
    case Op::kGetattr:
    case Op::kReadlink:
    case Op::kReadRange:
    case Op::kContentFd:
    case Op::kLoadListing:
    case Op::kStatfs:
    case Op::kGetxattr:
    case Op::kListxattr:
    case Op::kSeek:
    // May be made again: until it has returned, it may as well happen later.
    case Op::kSetLock:
    case Op::kGetLock:
    case Op::kFlushLocks:
    case Op::kReleaseLocks:
      break;
  }
  return false;
}

bool GivesBack(const RequestArgs& args) {
  switch (static_cast<Op>(args.op)) {
    case Op::kFlushLocks:
    case Op::kReleaseLocks:
      return true;
    case Op::kSetLock:
      return (args.flags & (kLockShared | kLockExclusive)) == 0;
    default:
      return false;
  }
}

}  // namespace airstore::shm
