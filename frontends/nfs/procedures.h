// SPDX-License-Identifier: Apache-2.0
//
// The procedures of NFS version 3. Each decodes its arguments, does what they say, and encodes the
// results; the head of a successful reply has been encoded before.
// Threads: workers'.
#pragma once

#include "frontends/nfs/call.h"

namespace airstore::nfs {

// kSent: it has sent the reply itself, with bytes that are not copied.
enum class Outcome { kEncoded, kGarbage, kSent };

using Procedure = Outcome (*)(Call& call, XDR* in, XDR* out);

enum class Kind {
  kQuick,  // mostly answered from what is here, and at once
  kLong,
  kOnce,  // not to be done a second time when a client sends the same call once more
};

struct ProcedureEntry {
  Procedure run;
  Kind kind;
};

// nullptr: there is no such procedure.
const ProcedureEntry* FindNfsProcedure(uint32_t number);
const ProcedureEntry* FindMountProcedure(uint32_t number);

// procedures_attributes.cc
Outcome Null(Call& call, XDR* in, XDR* out);
Outcome Getattr(Call& call, XDR* in, XDR* out);
Outcome Setattr(Call& call, XDR* in, XDR* out);
Outcome Access(Call& call, XDR* in, XDR* out);
Outcome Readlink(Call& call, XDR* in, XDR* out);
// procedures_names.cc
Outcome Lookup(Call& call, XDR* in, XDR* out);
Outcome Remove(Call& call, XDR* in, XDR* out);
Outcome Rmdir(Call& call, XDR* in, XDR* out);
Outcome Rename(Call& call, XDR* in, XDR* out);
Outcome Link(Call& call, XDR* in, XDR* out);
// procedures_create.cc
Outcome Create(Call& call, XDR* in, XDR* out);
Outcome Mkdir(Call& call, XDR* in, XDR* out);
Outcome Symlink(Call& call, XDR* in, XDR* out);
Outcome Mknod(Call& call, XDR* in, XDR* out);
// procedures_content.cc
Outcome Read(Call& call, XDR* in, XDR* out);
Outcome Write(Call& call, XDR* in, XDR* out);
Outcome Commit(Call& call, XDR* in, XDR* out);
// procedures_listing.cc
Outcome Readdir(Call& call, XDR* in, XDR* out);
Outcome ReaddirPlus(Call& call, XDR* in, XDR* out);
// procedures_system.cc
Outcome Fsstat(Call& call, XDR* in, XDR* out);
Outcome Fsinfo(Call& call, XDR* in, XDR* out);
Outcome Pathconf(Call& call, XDR* in, XDR* out);
// mount_program.cc
Outcome Mount(Call& call, XDR* in, XDR* out);
Outcome Dump(Call& call, XDR* in, XDR* out);
Outcome Unmount(Call& call, XDR* in, XDR* out);
Outcome Export(Call& call, XDR* in, XDR* out);

inline constexpr uint32_t kMostRead = 1u << 20;
inline constexpr uint32_t kMostWrite = 1u << 20;
inline constexpr uint32_t kMostListing = 64u << 10;

// What is told fits into the worker's buffer, which is made for the longest reply.
inline Outcome Encoded(bool all) { return all ? Outcome::kEncoded : Outcome::kGarbage; }
inline bool Put(XDR* out, nfsstat3 status) { return xdr_nfsstat3(out, &status); }

}  // namespace airstore::nfs
