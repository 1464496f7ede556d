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

// As the procedure does. No default: the compiler tells of one that is left out.
void DecodeArguments(nfsproc3 procedure, XDR* in) {
  HandleArg handle;
  HandleArg other_handle;
  NameArg name;
  nfs_fh3 object;
  handle.Into(&object);
  diropargs3 where{};
  other_handle.Into(&where.dir);
  name.Into(&where.name);
  switch (procedure) {
    case NFSPROC3_NULL:
      break;
    case NFSPROC3_GETATTR:
    case NFSPROC3_READLINK:
    case NFSPROC3_FSSTAT:
    case NFSPROC3_FSINFO:
    case NFSPROC3_PATHCONF:
      xdr_nfs_fh3(in, &object);
      break;
    case NFSPROC3_LOOKUP:
    case NFSPROC3_REMOVE:
    case NFSPROC3_RMDIR:
      xdr_diropargs3(in, &where);
      break;
    case NFSPROC3_SETATTR:
      if (xdr_nfs_fh3(in, &object) && Decode(in, xdr_sattr3)) Decode(in, xdr_sattrguard3);
      break;
    case NFSPROC3_ACCESS: {
      ACCESS3args args{};
      handle.Into(&args.object);
      xdr_ACCESS3args(in, &args);
      break;
    }
    case NFSPROC3_READ: {
      READ3args args{};
      handle.Into(&args.file);
      xdr_READ3args(in, &args);
      break;
    }
    case NFSPROC3_WRITE: {
      WRITE3argshead args{};
      handle.Into(&args.file);
      uint32_t bytes = 0;
      if (xdr_WRITE3argshead(in, &args) && xdr_u_int32_t(in, &bytes)) {
        (void)xdr_inline(in, RNDUP(bytes));
      }
      break;
    }
    case NFSPROC3_CREATE:
      if (xdr_diropargs3(in, &where)) Decode(in, xdr_createhow3);
      break;
    case NFSPROC3_MKDIR:
      if (xdr_diropargs3(in, &where)) Decode(in, xdr_sattr3);
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
    case NFSPROC3_RENAME: {
      diropargs3 to{};
      NameArg new_name;
      handle.Into(&to.dir);
      new_name.Into(&to.name);
      if (xdr_diropargs3(in, &where)) xdr_diropargs3(in, &to);
      break;
    }
    case NFSPROC3_LINK:
      if (xdr_nfs_fh3(in, &object)) xdr_diropargs3(in, &where);
      break;
    case NFSPROC3_READDIR: {
      READDIR3args args{};
      handle.Into(&args.dir);
      xdr_READDIR3args(in, &args);
      break;
    }
    case NFSPROC3_READDIRPLUS: {
      READDIRPLUS3args args{};
      handle.Into(&args.dir);
      xdr_READDIRPLUS3args(in, &args);
      break;
    }
    case NFSPROC3_COMMIT: {
      COMMIT3args args{};
      handle.Into(&args.file);
      xdr_COMMIT3args(in, &args);
      break;
    }
  }
}

void DecodePath(XDR* in) {
  char room[MNTPATHLEN];
  dirpath path{0, room};
  xdr_dirpath(in, &path);
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
  if (DecodeCallHead(&in, &head) == CallHeadResult::kGood) {
    DecodeArguments(static_cast<nfsproc3>(head.procedure % (NFSPROC3_COMMIT + 1)), &in);
  }
  // As arguments.
  for (uint32_t procedure = 0; procedure <= NFSPROC3_COMMIT; ++procedure) {
    xdrmem_create(&in, reinterpret_cast<char*>(words.data()), static_cast<u_int>(size), XDR_DECODE);
    DecodeArguments(static_cast<nfsproc3>(procedure), &in);
  }
  xdrmem_create(&in, reinterpret_cast<char*>(words.data()), static_cast<u_int>(size), XDR_DECODE);
  DecodePath(&in);
  // As a handle: none that was not sealed opens.
  const FileHandles handles(airstore::SipKey{1, 2, 3});
  if (handles.Open({reinterpret_cast<const char*>(data), size})) {
    fprintf(stderr, "broken: a handle that was made up is accepted\n");
    abort();
  }
  return 0;
}
