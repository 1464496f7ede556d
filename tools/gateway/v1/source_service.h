// SPDX-License-Identifier: Apache-2.0
//
// sources.SourceService. What views were called before are the same calls.
//
// Threads: gRPC's callbacks hand over to the pool.
// Ownership: borrows everything.
#pragma once

#include "airstore/v1/sources.grpc.pb.h"
#include "tools/gateway/sources/compressor.h"
#include "tools/gateway/sources/source_set.h"
#include "tools/gateway/v1/call.h"

namespace airstore::gateway::v1 {

class SourceService final : public ::sources::SourceService::CallbackService {
 public:
  SourceService(Gateway& gateway, SourceSet& sources, Compressor& compressor, WorkerPool& pool)
      : gateway_(gateway), sources_(sources), compressor_(compressor), pool_(pool) {}

#define AIRSTORE_METHOD(name, Message)                                                       \
  Reactor* name(Context*, const ::sources::Message##Request*, ::sources::Message##Response*) \
      override
  AIRSTORE_METHOD(Stat, SourceStat);
  AIRSTORE_METHOD(ReadDir, SourceReadDir);
  AIRSTORE_METHOD(Read, SourceRead);
  AIRSTORE_METHOD(Readlink, SourceReadlink);
  AIRSTORE_METHOD(CreateView, CreateView);
  AIRSTORE_METHOD(GetView, GetView);
  AIRSTORE_METHOD(ListViews, ListViews);
  AIRSTORE_METHOD(DeleteView, DeleteView);
  AIRSTORE_METHOD(UpdateView, UpdateView);
  AIRSTORE_METHOD(ExecuteView, ExecuteView);
  AIRSTORE_METHOD(SyncView, SyncView);
  AIRSTORE_METHOD(ListResources, ListResources);
#undef AIRSTORE_METHOD

#define AIRSTORE_OLD_NAME(name, Message)                                      \
  Reactor* name(Context* context, const ::sources::Message##Request* request, \
                ::sources::Message##Response* response) override {            \
    return Message(context, request, response);                               \
  }
  AIRSTORE_OLD_NAME(CreateSmartQuery, CreateView)
  AIRSTORE_OLD_NAME(GetSmartQuery, GetView)
  AIRSTORE_OLD_NAME(ListSmartQueries, ListViews)
  AIRSTORE_OLD_NAME(DeleteSmartQuery, DeleteView)
  AIRSTORE_OLD_NAME(UpdateSmartQuery, UpdateView)
  AIRSTORE_OLD_NAME(ExecuteSmartQuery, ExecuteView)
#undef AIRSTORE_OLD_NAME

 private:
  // Made shorter when the caller asks for that.
  Result<std::string> ReadCompressed(const Context& context, const SourceUser& user,
                                     const ::sources::SourceReadRequest& request,
                                     ::sources::SourceReadCostHint* hint);
  template <typename Response, typename Work>
  Reactor* ForUser(Context* context, Response* response, Work work);

  Gateway& gateway_;
  SourceSet& sources_;
  Compressor& compressor_;
  WorkerPool& pool_;
};

}  // namespace airstore::gateway::v1
