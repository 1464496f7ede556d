// SPDX-License-Identifier: Apache-2.0
//
// context.ContextService and filesystem.FilesystemService: both speak of the files of the caller's
// workspace here, where the second one once had records of its own.
//
// Threads: gRPC's callbacks hand over to the pool.
// Ownership: borrows gateway, files and pool.
#pragma once

#include "airstore/v1/context.grpc.pb.h"
#include "airstore/v1/filesystem.grpc.pb.h"
#include "tools/gateway/v1/call.h"

namespace airstore::gateway::v1 {

class ContextService final : public ::context::ContextService::CallbackService {
 public:
  ContextService(Gateway& gateway, Files& files, WorkerPool& pool)
      : gateway_(gateway), files_(files), pool_(pool) {}

#define AIRSTORE_METHOD(name, Request, Response) \
  Reactor* name(Context*, const ::context::Request*, ::context::Response*) override
  AIRSTORE_METHOD(Stat, ContextStatRequest, ContextStatResponse);
  AIRSTORE_METHOD(ReadDir, ContextReadDirRequest, ContextReadDirResponse);
  AIRSTORE_METHOD(Read, ContextReadRequest, ContextReadResponse);
  AIRSTORE_METHOD(Write, ContextWriteRequest, ContextWriteResponse);
  AIRSTORE_METHOD(Create, ContextCreateRequest, ContextCreateResponse);
  AIRSTORE_METHOD(Delete, ContextDeleteRequest, ContextDeleteResponse);
  AIRSTORE_METHOD(Mkdir, ContextMkdirRequest, ContextMkdirResponse);
  AIRSTORE_METHOD(Rename, ContextRenameRequest, ContextRenameResponse);
  AIRSTORE_METHOD(Truncate, ContextTruncateRequest, ContextTruncateResponse);
  AIRSTORE_METHOD(Symlink, ContextSymlinkRequest, ContextSymlinkResponse);
  AIRSTORE_METHOD(Readlink, ContextReadlinkRequest, ContextReadlinkResponse);
  AIRSTORE_METHOD(ListTree, ListTreeRequest, ListTreeResponse);
#undef AIRSTORE_METHOD

 private:
  Gateway& gateway_;
  Files& files_;
  WorkerPool& pool_;
};

class FilesystemService final : public ::filesystem::FilesystemService::CallbackService {
 public:
  FilesystemService(Gateway& gateway, Files& files, WorkerPool& pool)
      : gateway_(gateway), files_(files), pool_(pool) {}

#define AIRSTORE_METHOD(name)                                                                \
  Reactor* name(Context*, const ::filesystem::name##Request*, ::filesystem::name##Response*) \
      override
  AIRSTORE_METHOD(Stat);
  AIRSTORE_METHOD(ReadDir);
  AIRSTORE_METHOD(Mkdir);
  AIRSTORE_METHOD(Create);
  AIRSTORE_METHOD(Rename);
  AIRSTORE_METHOD(Remove);
  AIRSTORE_METHOD(Chmod);
#undef AIRSTORE_METHOD

 private:
  Gateway& gateway_;
  Files& files_;
  WorkerPool& pool_;
};

}  // namespace airstore::gateway::v1
