// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/v1/source_service.h"

#include <sys/stat.h>

#include "tools/gateway/v1/access_record.h"

namespace airstore::gateway::v1 {
namespace {

uint64_t FromZero(int64_t value) { return value < 0 ? 0 : static_cast<uint64_t>(value); }

void SetView(const ViewRecord& view, ::sources::SourceView* out) {
  const std::string filter =
      view.filter.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  out->set_external_id(view.external_id);
  out->set_integration(view.integration);
  out->set_path(view.Path());
  out->set_name(view.name);
  out->set_query_spec(filter);
  out->set_guidance(view.guidance);
  out->set_output_format(view.folder ? "folder" : "file");
  out->set_file_ext(view.file_ext);
  out->set_cache_ttl(view.cache_ttl);
  out->set_created_at(view.created);
  out->set_updated_at(view.updated);
  out->set_mode(view.mode);
  out->set_filter(filter);
  out->set_last_executed(view.last_executed);
}

void SetEntry(SourceNode node, ::sources::SourceDirEntry* out) {
  out->set_name(std::move(node.name));
  out->set_mode(node.mode);
  out->set_is_dir(node.directory);
  out->set_size(static_cast<int64_t>(node.size));
  out->set_mtime(node.mtime);
  out->set_result_id(std::move(node.result_id));
  out->set_child_count(node.children);
}

template <typename Response>
Result<void> CheckSize(Response* response) {
  if (response->ByteSizeLong() <= kMaxSourceAnswer) return {};
  response->clear_entries();
  return Error{EFBIG, "more results than one answer holds: a narrower filter is needed"};
}

}  // namespace

template <typename Response, typename Work>
Reactor* SourceService::ForUser(Context* context, Response* response, Work work) {
  return Serve(gateway_, pool_, context, response,
               [=, this](const std::optional<Caller>& caller) -> Result<void> {
                 auto workspace = WorkspaceOf(gateway_, caller);
                 if (!workspace && workspace.error().code == EACCES) {
                   return Error{EACCES, "unauthorized"};
                 }
                 if (!workspace) return workspace.error();
                 return work(SourceUser{workspace->id, workspace->name, caller->read_only});
               });
}

#define AIRSTORE_CALL(name, Message)                                                         \
  Reactor* SourceService::name(Context* context, const ::sources::Message##Request* request, \
                               ::sources::Message##Response* response)

AIRSTORE_CALL(Stat, SourceStat) {
  return ForUser(context, response, [=, this](const SourceUser& user) -> Result<void> {
    auto node = sources_.Stat(user, request->path());
    if (!node) return node.error();
    ::sources::SourceFileInfo* info = response->mutable_info();
    info->set_size(static_cast<int64_t>(node->size));
    info->set_mode(node->mode);
    info->set_mtime(node->mtime);
    info->set_is_dir(node->directory);
    return {};
  });
}

AIRSTORE_CALL(ReadDir, SourceReadDir) {
  return ForUser(context, response, [=, this](const SourceUser& user) -> Result<void> {
    auto nodes = sources_.List(user, request->path());
    if (!nodes) return nodes.error();
    for (SourceNode& node : *nodes) SetEntry(std::move(node), response->add_entries());
    return CheckSize(response);
  });
}

AIRSTORE_CALL(Read, SourceRead) {
  return ForUser(context, response, [=, this](const SourceUser& user) -> Result<void> {
    const SteadyTime begun = SteadyNow();
    ::sources::SourceReadCostHint hint;
    auto data = ReadCompressed(*context, user, *request, &hint);
    AccessEvent event;
    event.path = "Sources/" + request->path();
    event.offset = request->offset();
    event.requested_bytes = request->length();
    event.integration = hint.integration();
    event.source_uri = hint.source_uri();
    event.query_path = hint.query_path();
    event.result_id = hint.result_id();
    event.strategy = hint.strategy();
    event.outcome = hint.outcome();
    event.original_bytes = hint.original_bytes();
    event.compressed_bytes = hint.compressed_bytes();
    event.original_tokens = hint.original_tokens();
    event.compressed_tokens = hint.compressed_tokens();
    event.compression_ms = hint.compression_ms();
    if (data) {
      event.read_bytes = static_cast<int64_t>(data->size());
    } else {
      event.error = TextOf(data.error());
    }
    RecordRead(gateway_, *context, user.workspace_id, begun, std::move(event));
    if (!data) return data.error();
    if (!hint.result_id().empty()) *response->mutable_cost_hint() = std::move(hint);
    response->set_data(std::move(*data));
    return {};
  });
}

Result<std::string> SourceService::ReadCompressed(const Context& context, const SourceUser& user,
                                                  const ::sources::SourceReadRequest& request,
                                                  ::sources::SourceReadCostHint* hint) {
  const uint64_t offset = FromZero(request.offset());
  const uint64_t length = FromZero(request.length());
  const std::string strategy = Header(context, "x-airstore-compression");
  const auto describe = [hint](const SourceContent& content) {
    hint->set_integration(content.integration);
    hint->set_source_uri(content.integration + "://" + content.result_id);
    hint->set_query_path(content.view_path);
    hint->set_result_id(content.result_id);
  };
  if (strategy.empty() || strategy == "off") {
    auto content = sources_.Read(user, request.path(), offset, length);
    if (!content) return content.error();
    if (!content->result_id.empty()) {
      describe(*content);
      hint->set_outcome("passthrough");
      hint->set_original_bytes(static_cast<int64_t>(content->data.size()));
      hint->set_compressed_bytes(static_cast<int64_t>(content->data.size()));
    }
    return std::move(content->data);
  }
  const auto node = sources_.Stat(user, request.path());
  if (!node) return node.error();
  const std::string key = user.workspace_id + '\0' + request.path() + '\0' +
                          std::to_string(node->size) + ' ' + std::to_string(node->mtime);
  auto made = compressor_.Find(strategy, key);
  const bool kept = made != nullptr;
  if (!kept) {
    auto content = sources_.Read(user, request.path(), 0, 0);
    if (!content) return content.error();
    // What is no result is about the source, and short.
    if (content->result_id.empty()) {
      return offset < content->data.size()
                 ? content->data.substr(offset, length == 0 ? std::string::npos : length)
                 : std::string();
    }
    made = compressor_.Compress(strategy, key, std::move(*content));
  }
  const std::string& text = made->content.data;
  const auto bytes = static_cast<int64_t>(text.size());
  describe(made->content);
  hint->set_strategy(strategy);
  hint->set_outcome(kept && made->outcome == "compressed" ? "cache_hit" : made->outcome);
  hint->set_original_bytes(made->original_bytes);
  hint->set_compressed_bytes(bytes);
  hint->set_original_tokens(EstimatedTokens(made->original_bytes));
  hint->set_compressed_tokens(EstimatedTokens(bytes));
  hint->set_compression_ms(kept ? 0 : made->took_ms);
  if (offset >= text.size()) return std::string();
  return text.substr(offset, length == 0 ? std::string::npos : length);
}

AIRSTORE_CALL(Readlink, SourceReadlink) {
  return ForUser(context, response, [=, this](const SourceUser& user) -> Result<void> {
    (void)response;
    auto node = sources_.Stat(user, request->path());
    if (!node) return node.error();
    return Error{EINVAL, "not a symlink"};
  });
}

AIRSTORE_CALL(CreateView, CreateView) {
  return ForUser(context, response, [=, this](const SourceUser& user) -> Result<void> {
    ViewRecord view;
    view.integration = request->integration();
    view.name = request->name();
    view.guidance = request->guidance();
    if (!request->output_format().empty() && request->output_format() != "folder" &&
        request->output_format() != "file") {
      return Error{EINVAL, "output_format: folder or file"};
    }
    view.folder = request->output_format() != "file";
    if (!view.folder) {
      view.file_ext = request->file_ext().empty() ? ".json" : request->file_ext();
    }
    auto made = sources_.CreateView(user, std::move(view), request->filter());
    if (!made) return made.error();
    SetView(*made, response->mutable_view());
    return {};
  });
}

AIRSTORE_CALL(GetView, GetView) {
  return ForUser(context, response, [=, this](const SourceUser& user) -> Result<void> {
    auto view = sources_.FindView(user, request->path());
    if (!view) return view.error();
    if (*view) SetView(**view, response->mutable_view());
    return {};
  });
}

AIRSTORE_CALL(ListViews, ListViews) {
  return ForUser(context, response, [=, this](const SourceUser& user) -> Result<void> {
    auto views = sources_.Views(user, request->parent_path());
    if (!views) return views.error();
    for (const ViewRecord& view : *views) SetView(view, response->add_views());
    return {};
  });
}

AIRSTORE_CALL(DeleteView, DeleteView) {
  return ForUser(context, response, [=, this](const SourceUser& user) -> Result<void> {
    (void)response;
    return sources_.DeleteView(user, request->external_id());
  });
}

AIRSTORE_CALL(UpdateView, UpdateView) {
  return ForUser(context, response, [=, this](const SourceUser& user) -> Result<void> {
    auto view = sources_.UpdateView(user, request->external_id(), request->name(),
                                    request->guidance(), request->filter());
    if (!view) return view.error();
    SetView(*view, response->mutable_view());
    return {};
  });
}

AIRSTORE_CALL(ExecuteView, ExecuteView) {
  return ForUser(context, response, [=, this](const SourceUser& user) -> Result<void> {
    auto view = sources_.FindView(user, request->path());
    if (!view) return view.error();
    if (!*view) return Error{ENOENT, "query not found"};
    if (!request->filename().empty() || !request->result_id().empty()) {
      auto data = sources_.ResultContent(user, **view, request->filename(), request->result_id());
      if (!data) return data.error();
      response->set_file_data(std::move(*data));
      return {};
    }
    auto nodes = sources_.Execute(user, **view);
    if (!nodes) return nodes.error();
    for (SourceNode& node : *nodes) SetEntry(std::move(node), response->add_entries());
    return CheckSize(response);
  });
}

AIRSTORE_CALL(SyncView, SyncView) {
  return ForUser(context, response, [=, this](const SourceUser& user) -> Result<void> {
    size_t results = 0, fresh = 0;
    auto view = sources_.Sync(user, request->external_id(), &results, &fresh);
    if (!view) return view.error();
    SetView(*view, response->mutable_view());
    response->set_results_count(static_cast<int32_t>(results));
    response->set_new_results(static_cast<int32_t>(fresh));
    return {};
  });
}

AIRSTORE_CALL(ListResources, ListResources) {
  return ForUser(context, response, [=, this](const SourceUser& user) -> Result<void> {
    auto resources = sources_.Resources(user, request->integration(), request->resource_type());
    if (!resources) return resources.error();
    for (const SourceResourceInfo& resource : *resources) {
      ::sources::SourceResource* out = response->add_resources();
      out->set_id(resource.id);
      out->set_name(resource.name);
    }
    return {};
  });
}

#undef AIRSTORE_CALL

}  // namespace airstore::gateway::v1
