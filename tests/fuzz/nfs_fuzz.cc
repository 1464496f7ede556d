// SPDX-License-Identifier: Apache-2.0
//
// What an NFS client may send: a stream of records, the heads of calls, the arguments of each
// procedure. Whatever it is, decoding ends, stays within its buffers, and allocates nothing that is
// not given back.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "frontends/nfs/call.h"
#include "frontends/nfs/file_handle.h"
#include "frontends/nfs/record_reader.h"
#include "frontends/nfs/rpc_message.h"

namespace {

using namespace airstore::nfs;  // NOLINT: all of it is under test

template <typename T>
bool Decode(XDR* in, bool_t (*coder)(XDR*, T*)) {
  T value{};
  return coder(in, &value) != 0;
}

void DecodeArguments(uint32_t procedure, XDR* in) {
  HandleArg handle;
  HandleArg other_handle;
  NameArg name;
  nfs_fh3 object;
  handle.Into(&object);
  diropargs3 where{};
  other_handle.Into(&where.dir);
  name.Into(&where.name);
  switch (procedure % (NFSPROC3_COMMIT + 1)) {
    case NFSPROC3_SETATTR:
      if (xdr_nfs_fh3(in, &object) && Decode(in, xdr_sattr3)) Decode(in, xdr_sattrguard3);
      break;
    case NFSPROC3_CREATE:
      if (xdr_diropargs3(in, &where)) Decode(in, xdr_createhow3);
      break;
    case NFSPROC3_SYMLINK: {
      char target[AIRSTORE_PATH];
      symlinkdata3 link{};
      link.symlink_data = {0, target};
      if (xdr_diropargs3(in, &where)) xdr_symlinkdata3(in, &link);
      break;
    }
    case NFSPROC3_MKNOD:
      if (xdr_diropargs3(in, &where)) Decode(in, xdr_mknoddata3);
      break;
    case NFSPROC3_WRITE: {
      WRITE3argshead args{};
      handle.Into(&args.file);
      xdr_WRITE3argshead(in, &args);
      break;
    }
    case NFSPROC3_READDIRPLUS: {
      READDIRPLUS3args args{};
      handle.Into(&args.dir);
      xdr_READDIRPLUS3args(in, &args);
      break;
    }
    case NFSPROC3_LINK:
      if (xdr_nfs_fh3(in, &object)) xdr_diropargs3(in, &where);
      break;
    default:
      xdr_diropargs3(in, &where);
      break;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // As a stream.
  std::vector<uint8_t> room(4096);
  RecordReader reader(room);
  for (size_t at = 0;;) {
    const auto wanted = reader.Wanted();
    if (wanted.size() > size - at) break;
    if (!wanted.empty()) memcpy(wanted.data(), data + at, wanted.size());
    at += wanted.size();
    const auto state = reader.Filled();
    if (state == RecordReader::State::kMore) continue;
    if (state == RecordReader::State::kComplete && reader.record().size() > room.size()) abort();
    break;
  }
  // As a record: words, because XDR knows nothing else.
  std::vector<uint32_t> words(size / 4 + 1);
  if (size != 0) memcpy(words.data(), data, size);
  XDR in;
  xdrmem_create(&in, reinterpret_cast<char*>(words.data()), static_cast<u_int>(size), XDR_DECODE);
  CallHead head;
  if (DecodeCallHead(&in, &head) == CallHeadResult::kGood) DecodeArguments(head.procedure, &in);
  // As arguments.
  for (uint32_t procedure = 0; procedure <= NFSPROC3_COMMIT; ++procedure) {
    xdrmem_create(&in, reinterpret_cast<char*>(words.data()), static_cast<u_int>(size), XDR_DECODE);
    DecodeArguments(procedure, &in);
  }
  // As a handle: none that was not sealed opens.
  const FileHandles handles(SipKey{1, 2, 3});
  if (handles.Open({reinterpret_cast<const char*>(data), size})) {
    fprintf(stderr, "broken: a handle that was made up is accepted\n");
    abort();
  }
  return 0;
}
