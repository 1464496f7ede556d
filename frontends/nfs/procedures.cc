// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/procedures.h"

#include <iterator>

namespace airstore::nfs {
namespace {

using enum Kind;

// By number. COMMIT reports an error once, so that it must not get lost with a reply.
constexpr ProcedureEntry kNfs[] = {
    {Null, kQuick},     {Getattr, kQuick}, {Setattr, kOnce},     {Lookup, kQuick}, {Access, kQuick},
    {Readlink, kQuick}, {Read, kLong},     {Write, kLong},       {Create, kOnce},  {Mkdir, kOnce},
    {Symlink, kOnce},   {Mknod, kOnce},    {Remove, kOnce},      {Rmdir, kOnce},   {Rename, kOnce},
    {Link, kOnce},      {Readdir, kLong},  {ReaddirPlus, kLong}, {Fsstat, kLong},  {Fsinfo, kQuick},
    {Pathconf, kQuick}, {Commit, kOnce},
};
static_assert(std::size(kNfs) == NFSPROC3_COMMIT + 1);

constexpr ProcedureEntry kMount[] = {
    {Null, kQuick},    {Mount, kLong},    {Dump, kQuick},
    {Unmount, kQuick}, {Unmount, kQuick}, {Export, kQuick},
};
static_assert(std::size(kMount) == MOUNTPROC3_EXPORT + 1);

}  // namespace

const ProcedureEntry* FindNfsProcedure(uint32_t number) {
  return number < std::size(kNfs) ? &kNfs[number] : nullptr;
}

const ProcedureEntry* FindMountProcedure(uint32_t number) {
  return number < std::size(kMount) ? &kMount[number] : nullptr;
}

}  // namespace airstore::nfs
