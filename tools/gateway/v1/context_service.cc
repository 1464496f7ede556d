// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/v1/context_service.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "tools/gateway/v1/access_record.h"
#include "tools/gateway/v1/paths.h"

namespace airstore::gateway::v1 {
namespace {

constexpr uint32_t kDefaultTreePage = 1000;
// Below the greatest message, with room for what protobuf adds.
constexpr size_t kMaxAnswerBytes = 15u << 20;

int64_t Seconds(int64_t ns) {
  constexpr int64_t kNs = 1'000'000'000;
  return ns >= 0 ? ns / kNs : -((-ns + kNs - 1) / kNs);
}

std::string Etag(const Inode& inode) {
  return fmt::format("{}-{}", inode.ino, inode.content_version);
}

uint64_t FromZero(int64_t value) { return value < 0 ? 0 : static_cast<uint64_t>(value); }

// Whether names that are taken are an error; said back, so that a client knows that it was heard.
bool Exclusive(Context* context) {
  constexpr const char* kKey = "x-airstore-exclusive";
  if (Header(*context, kKey) != "1") return false;
  context->AddTrailingMetadata(kKey, "1");
  return true;
}

template <typename Out>
void SetAttributes(const Inode& inode, Out* out) {
  out->set_mode(inode.mode);
  out->set_size(S_ISDIR(inode.mode) ? 0 : static_cast<int64_t>(inode.size));
  out->set_mtime(Seconds(inode.mtime_ns));
}

Result<uint64_t> Nothing() { return uint64_t{0}; }

template <typename Response>
Result<uint64_t> CheckSize(const Response& response) {
  if (response.ByteSizeLong() <= kMaxAnswerBytes) return Nothing();
  return Error{EFBIG, "the directory is too large for one answer: use ListTree with depth 1"};
}

}  // namespace

#define AIRSTORE_CALL(name, Request, Response)                                       \
  Reactor* ContextService::name(Context* context, const ::context::Request* request, \
                                ::context::Response* response)

AIRSTORE_CALL(Stat, ContextStatRequest, ContextStatResponse) {
  return ServeFiles(files_, pool_, context, response, [=, this](const Who& who) {
    auto inode = files_.Stat(who, request->path());
    if (!inode) return Result<uint64_t>(inode.error());
    ::context::FileInfo* info = response->mutable_info();
    SetAttributes(*inode, info);
    info->set_is_dir(S_ISDIR(inode->mode));
    info->set_is_link(S_ISLNK(inode->mode));
    return Nothing();
  });
}

AIRSTORE_CALL(ReadDir, ContextReadDirRequest, ContextReadDirResponse) {
  return ServeFiles(files_, pool_, context, response, [=, this](const Who& who) {
    auto entries = files_.List(who, request->path());
    if (!entries) return Result<uint64_t>(entries.error());
    response->clear_entries();
    for (Entry& entry : *entries) {
      ::context::ContextDirEntry* out = response->add_entries();
      SetAttributes(entry.inode, out);
      out->set_is_dir(S_ISDIR(entry.inode.mode));
      out->set_etag(Etag(entry.inode));
      out->set_name(std::move(entry.name));
    }
    auto fits = CheckSize(*response);
    if (!fits) response->clear_entries();
    return fits;
  });
}

AIRSTORE_CALL(Read, ContextReadRequest, ContextReadResponse) {
  const SteadyTime begun = SteadyNow();
  return ServeFiles(files_, pool_, context, response, [=, this](const Who& who) {
    auto data =
        files_.Read(who, request->path(), FromZero(request->offset()), FromZero(request->length()));
    if (IsRecorded(*context)) {
      AccessEvent event;
      event.path = request->path();
      event.offset = request->offset();
      event.requested_bytes = request->length();
      if (data) event.read_bytes = static_cast<int64_t>(data->size());
      if (!data) event.error = TextOf(data.error());
      RecordRead(gateway_, *context, {}, begun, std::move(event));
    }
    if (!data) return Result<uint64_t>(data.error());
    response->set_data(std::move(*data));
    return Nothing();
  });
}

AIRSTORE_CALL(Write, ContextWriteRequest, ContextWriteResponse) {
  return ServeFiles(files_, pool_, context, response, [=, this](const Who& who) {
    auto written = files_.Write(who, request->path(), FromZero(request->offset()), request->data());
    if (written) response->set_written(static_cast<int32_t>(request->data().size()));
    return written;
  });
}

AIRSTORE_CALL(Create, ContextCreateRequest, ContextCreateResponse) {
  const bool exclusive = Exclusive(context);
  return ServeFiles(files_, pool_, context, response, [=, this](const Who& who) {
    return files_.Create(who, request->path(), request->mode(), exclusive);
  });
}

AIRSTORE_CALL(Delete, ContextDeleteRequest, ContextDeleteResponse) {
  return ServeFiles(files_, pool_, context, response, [=, this](const Who& who) {
    return files_.Delete(who, request->path(), request->recursive());
  });
}

AIRSTORE_CALL(Mkdir, ContextMkdirRequest, ContextMkdirResponse) {
  const bool exclusive = Exclusive(context);
  return ServeFiles(files_, pool_, context, response, [=, this](const Who& who) {
    return files_.Mkdir(who, request->path(), request->mode(), exclusive);
  });
}

AIRSTORE_CALL(Rename, ContextRenameRequest, ContextRenameResponse) {
  return ServeFiles(files_, pool_, context, response, [=, this](const Who& who) {
    return files_.Rename(who, request->old_path(), request->new_path());
  });
}

// With the header only the time is set: a client that wants that, and says the size that it has
// seen, would cut off what others have appended since.
AIRSTORE_CALL(Truncate, ContextTruncateRequest, ContextTruncateResponse) {
  const bool touch = Header(*context, "x-airstore-touch") == "1";
  return ServeFiles(files_, pool_, context, response, [=, this](const Who& who) {
    if (touch) return files_.Touch(who, request->path());
    return files_.Truncate(who, request->path(), FromZero(request->size()));
  });
}

AIRSTORE_CALL(Symlink, ContextSymlinkRequest, ContextSymlinkResponse) {
  return ServeFiles(files_, pool_, context, response, [=, this](const Who& who) {
    return files_.Symlink(who, request->link_path(), request->target());
  });
}

AIRSTORE_CALL(Readlink, ContextReadlinkRequest, ContextReadlinkResponse) {
  return ServeFiles(files_, pool_, context, response, [=, this](const Who& who) {
    auto inode = files_.Stat(who, request->path());
    if (!inode) return Result<uint64_t>(inode.error());
    if (!S_ISLNK(inode->mode)) return Result<uint64_t>(Error{EINVAL, "not a symlink"});
    if (!IsUtf8(inode->symlink_target)) {
      return Result<uint64_t>(Error{EILSEQ, "the target is not UTF-8: v1 cannot say it"});
    }
    response->set_target(inode->symlink_target);
    return Nothing();
  });
}

AIRSTORE_CALL(ListTree, ListTreeRequest, ListTreeResponse) {
  return ServeFiles(files_, pool_, context, response, [=, this](const Who& who) {
    const auto most = FromZero(request->max_keys());
    auto page = files_.Tree(who, request->path(), request->continuation_token(),
                            FromZero(request->depth()), most == 0 ? kDefaultTreePage : most);
    if (!page) return Result<uint64_t>(page.error());
    response->clear_entries();
    size_t bytes = 0;
    for (TreePage::Item& item : page->items) {
      bytes += item.path.size() + 100;
      if (bytes > kMaxAnswerBytes && response->entries_size() > 0) {
        page->more = true;
        break;
      }
      ::context::TreeEntry* out = response->add_entries();
      SetAttributes(item.inode, out);
      out->set_etag(Etag(item.inode));
      out->set_path(std::move(item.path));
    }
    response->set_truncated(page->more);
    if (page->more) {
      response->set_next_token(response->entries(response->entries_size() - 1).path());
    }
    return Nothing();
  });
}

#undef AIRSTORE_CALL
#define AIRSTORE_CALL(name)                                                                      \
  Reactor* FilesystemService::name(Context* context, const ::filesystem::name##Request* request, \
                                   ::filesystem::name##Response* response)

AIRSTORE_CALL(Stat) {
  return ServeFiles(files_, pool_, context, response, [=, this](const Who& who) {
    auto inode = files_.Stat(who, request->path());
    if (!inode) return Result<uint64_t>(inode.error());
    ::filesystem::FileStat* info = response->mutable_info();
    SetAttributes(*inode, info);
    info->set_is_dir(S_ISDIR(inode->mode));
    info->set_is_symlink(S_ISLNK(inode->mode));
    if (IsUtf8(inode->symlink_target)) info->set_symlink_target(inode->symlink_target);
    std::string path = "/";
    const auto parts = SplitPath(request->path());
    for (const std::string_view part : *parts) {
      if (path.size() > 1) path += '/';
      path += part;
      info->set_name(std::string(part));
    }
    info->set_path(std::move(path));
    return Nothing();
  });
}

AIRSTORE_CALL(ReadDir) {
  return ServeFiles(files_, pool_, context, response, [=, this](const Who& who) {
    auto entries = files_.List(who, request->path());
    if (!entries) return Result<uint64_t>(entries.error());
    response->clear_entries();
    for (Entry& entry : *entries) {
      ::filesystem::DirEntry* out = response->add_entries();
      SetAttributes(entry.inode, out);
      out->set_is_dir(S_ISDIR(entry.inode.mode));
      out->set_name(std::move(entry.name));
    }
    auto fits = CheckSize(*response);
    if (!fits) response->clear_entries();
    return fits;
  });
}

AIRSTORE_CALL(Mkdir) {
  return ServeFiles(files_, pool_, context, response, [=, this](const Who& who) {
    return files_.Mkdir(who, request->path(), request->mode(), false);
  });
}

AIRSTORE_CALL(Create) {
  return ServeFiles(files_, pool_, context, response, [=, this](const Who& who) {
    return files_.Create(who, request->path(), request->mode(), false);
  });
}

AIRSTORE_CALL(Rename) {
  return ServeFiles(files_, pool_, context, response, [=, this](const Who& who) {
    return files_.Rename(who, request->old_path(), request->new_path());
  });
}

AIRSTORE_CALL(Remove) {
  return ServeFiles(files_, pool_, context, response, [=, this](const Who& who) {
    return files_.Delete(who, request->path(), false);
  });
}

AIRSTORE_CALL(Chmod) {
  return ServeFiles(files_, pool_, context, response, [=, this](const Who& who) {
    return files_.Chmod(who, request->path(), request->mode(), 0777);
  });
}

#undef AIRSTORE_CALL

}  // namespace airstore::gateway::v1
