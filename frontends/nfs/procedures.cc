// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/procedures.h"

#include <iterator>

namespace airstore::nfs {
namespace {

constexpr bool kOnce = true;
constexpr bool kAgain = false;

// By number. COMMIT reports an error once, so that it must not get lost with a reply.
constexpr ProcedureEntry kNfs[] = {
    {Null, kAgain},     {Getattr, kAgain},     {Setattr, kOnce}, {Lookup, kAgain},
    {Access, kAgain},   {Readlink, kAgain},    {Read, kAgain},   {Write, kAgain},
    {Create, kOnce},    {Mkdir, kOnce},        {Symlink, kOnce}, {Mknod, kOnce},
    {Remove, kOnce},    {Rmdir, kOnce},        {Rename, kOnce},  {Link, kOnce},
    {Readdir, kAgain},  {ReaddirPlus, kAgain}, {Fsstat, kAgain}, {Fsinfo, kAgain},
    {Pathconf, kAgain}, {Commit, kOnce},
};
static_assert(std::size(kNfs) == NFSPROC3_COMMIT + 1);

constexpr ProcedureEntry kMount[] = {
    {Null, kAgain},    {Mount, kAgain},   {Dump, kAgain},
    {Unmount, kAgain}, {Unmount, kAgain}, {Export, kAgain},
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
