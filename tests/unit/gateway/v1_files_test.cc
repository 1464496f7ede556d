// SPDX-License-Identifier: Apache-2.0
//
// v1: the files of a workspace, through a real server.
#include <atomic>
#include <future>
#include <set>
#include <thread>

#include "airstore/v1/context.pb.h"
#include "airstore/v1/filesystem.pb.h"
#include "airstore/v1/gateway.pb.h"
#include "tests/e2e/support/stores.h"
#include "tests/unit/gateway/v1_bench.h"

namespace airstore::gateway {
namespace {

using Code = grpc::StatusCode;

class V1Files : public V1Bench {
 protected:
  explicit V1Files(ServerOptions server = {}) : V1Bench(std::move(server)) {}

#define AIRSTORE_CONTEXT_CALL(name, Request, Response)                         \
  Told name(const ::context::Request& request, ::context::Response* response,  \
            std::map<std::string, std::string> headers = {}) {                 \
    return Call("/context.ContextService/" #name, request, response, headers); \
  }
  AIRSTORE_CONTEXT_CALL(Stat, ContextStatRequest, ContextStatResponse)
  AIRSTORE_CONTEXT_CALL(ReadDir, ContextReadDirRequest, ContextReadDirResponse)
  AIRSTORE_CONTEXT_CALL(Read, ContextReadRequest, ContextReadResponse)
  AIRSTORE_CONTEXT_CALL(Write, ContextWriteRequest, ContextWriteResponse)
  AIRSTORE_CONTEXT_CALL(Create, ContextCreateRequest, ContextCreateResponse)
  AIRSTORE_CONTEXT_CALL(Delete, ContextDeleteRequest, ContextDeleteResponse)
  AIRSTORE_CONTEXT_CALL(Mkdir, ContextMkdirRequest, ContextMkdirResponse)
  AIRSTORE_CONTEXT_CALL(Rename, ContextRenameRequest, ContextRenameResponse)
  AIRSTORE_CONTEXT_CALL(Truncate, ContextTruncateRequest, ContextTruncateResponse)
  AIRSTORE_CONTEXT_CALL(Symlink, ContextSymlinkRequest, ContextSymlinkResponse)
  AIRSTORE_CONTEXT_CALL(Readlink, ContextReadlinkRequest, ContextReadlinkResponse)
  AIRSTORE_CONTEXT_CALL(ListTree, ListTreeRequest, ListTreeResponse)
#undef AIRSTORE_CONTEXT_CALL

  // The short forms answer the errno, or -1 when the call itself failed.
  template <typename Response>
  static int ErrorOf(const Told& told, const Response& response) {
    if (!told.status.ok()) return -1;
    EXPECT_EQ(response.ok(), told.error() == 0);
    EXPECT_EQ(response.ok(), response.error().empty());
    return told.error();
  }
  int Put(const std::string& path, const std::string& data, int64_t offset = 0) {
    ::context::ContextWriteRequest request;
    ::context::ContextWriteResponse response;
    request.set_path(path);
    request.set_data(data);
    request.set_offset(offset);
    const Told told = Write(request, &response);
    if (response.ok()) {
      EXPECT_EQ(response.written(), static_cast<int>(data.size()));
    }
    return ErrorOf(told, response);
  }
  std::string Get(const std::string& path, int64_t offset = 0, int64_t length = 0) {
    ::context::ContextReadRequest request;
    ::context::ContextReadResponse response;
    request.set_path(path);
    request.set_offset(offset);
    request.set_length(length);
    const int error = ErrorOf(Read(request, &response), response);
    return error == 0 ? response.data() : "errno " + std::to_string(error);
  }
  int Make(const std::string& path, uint32_t mode = 0,
           std::map<std::string, std::string> headers = {}) {
    ::context::ContextMkdirRequest request;
    ::context::ContextMkdirResponse response;
    request.set_path(path);
    request.set_mode(mode);
    return ErrorOf(Mkdir(request, &response, headers), response);
  }
  int New(const std::string& path, uint32_t mode = 0,
          std::map<std::string, std::string> headers = {}) {
    ::context::ContextCreateRequest request;
    ::context::ContextCreateResponse response;
    request.set_path(path);
    request.set_mode(mode);
    return ErrorOf(Create(request, &response, headers), response);
  }
  int Remove(const std::string& path, bool recursive = false) {
    ::context::ContextDeleteRequest request;
    ::context::ContextDeleteResponse response;
    request.set_path(path);
    request.set_recursive(recursive);
    return ErrorOf(Delete(request, &response), response);
  }
  int Move(const std::string& from, const std::string& to) {
    ::context::ContextRenameRequest request;
    ::context::ContextRenameResponse response;
    request.set_old_path(from);
    request.set_new_path(to);
    return ErrorOf(Rename(request, &response), response);
  }
  int Link(const std::string& path, const std::string& target) {
    ::context::ContextSymlinkRequest request;
    ::context::ContextSymlinkResponse response;
    request.set_link_path(path);
    request.set_target(target);
    return ErrorOf(Symlink(request, &response), response);
  }
  int Cut(const std::string& path, int64_t size) {
    ::context::ContextTruncateRequest request;
    ::context::ContextTruncateResponse response;
    request.set_path(path);
    request.set_size(size);
    return ErrorOf(Truncate(request, &response), response);
  }
  ::context::FileInfo Info(const std::string& path, int* error = nullptr) {
    ::context::ContextStatRequest request;
    ::context::ContextStatResponse response;
    request.set_path(path);
    const int found = ErrorOf(Stat(request, &response), response);
    if (error != nullptr) *error = found;
    return response.info();
  }
  int StatError(const std::string& path) {
    int error = 0;
    (void)Info(path, &error);
    return error;
  }
  std::vector<std::string> Names(const std::string& path) {
    ::context::ContextReadDirRequest request;
    ::context::ContextReadDirResponse response;
    request.set_path(path);
    const int error = ErrorOf(ReadDir(request, &response), response);
    std::vector<std::string> names;
    for (const auto& entry : response.entries()) names.push_back(entry.name());
    if (error != 0) names.push_back("errno " + std::to_string(error));
    return names;
  }
};

using Names_ = std::vector<std::string>;

TEST_F(V1Files, WritesKeepWhatTheyDoNotReplace) {
  EXPECT_EQ(Put("a", "0123456789"), 0);
  EXPECT_EQ(Put("a", "AB"), 0);
  EXPECT_EQ(Get("a"), "AB23456789");
  EXPECT_EQ(Put("a", "xy", 12), 0);
  EXPECT_EQ(Get("a"), std::string("AB23456789\0\0xy", 14));
  EXPECT_EQ(Put("a", "-", -5), 0);  // as 0
  EXPECT_EQ(Get("a", 0, 3), "-B2");
  EXPECT_EQ(Get("a", 12, 100), "xy");
  EXPECT_EQ(Get("a", 14), "");
  EXPECT_EQ(Get("a", 1000, 5), "");
  EXPECT_EQ(Put("a", ""), 0);  // how v1 clients empty a file
  EXPECT_EQ(Info("a").size(), 0);
  EXPECT_EQ(Get("a"), "");
}

TEST_F(V1Files, LargeFilesAreWrittenInPiecesAndReadInRanges) {
  std::string piece(9 << 20, 'p');
  for (size_t i = 0; i < piece.size(); i += 4096) piece[i] = static_cast<char>('a' + i / 4096 % 26);
  for (int64_t at = 0; at < 8; ++at) {
    ASSERT_EQ(Put("large", piece, at * static_cast<int64_t>(piece.size())), 0);
  }
  EXPECT_EQ(Info("large").size(), 72 << 20);
  const std::string over = Get("large", 5 * (9 << 20) - 4096, 9 << 20);
  EXPECT_TRUE(over == piece.substr(piece.size() - 4096) + piece.substr(0, piece.size() - 4096))
      << over.substr(0, 100);
  // Short data would be the end of the file for a client, so what does not fit is refused.
  EXPECT_EQ(Get("large"), "errno " + std::to_string(EFBIG));
  EXPECT_EQ(Get("large", 0, 16 << 20), "errno " + std::to_string(EFBIG));
  EXPECT_EQ(Cut("large", 3), 0);
  EXPECT_EQ(Get("large"), piece.substr(0, 3));
  EXPECT_EQ(Cut("large", 6), 0);
  EXPECT_EQ(Get("large"), piece.substr(0, 3) + std::string(3, '\0'));
}

TEST_F(V1Files, MakesRenamesAndRemovesAsPosixSays) {
  EXPECT_EQ(Make("d"), 0);
  EXPECT_EQ(Make("d/e", 0750), 0);
  EXPECT_EQ(Info("d/e").mode(), 040750u);
  EXPECT_EQ(New("d/e/f", 0600), 0);
  EXPECT_EQ(Info("d/e/f").mode(), 0100600u);
  EXPECT_EQ(Put("d/e/f", "content"), 0);
  EXPECT_EQ(New("x/y"), ENOENT);
  EXPECT_EQ(Put("x/y", "z"), ENOENT);
  EXPECT_EQ(New("d/e/f/g"), ENOTDIR);
  EXPECT_EQ(Put("d", "z"), EISDIR);
  EXPECT_EQ(New("d"), EISDIR);
  EXPECT_EQ(Make("d/e/f"), ENOTDIR);
  EXPECT_EQ(Remove("d"), ENOTEMPTY);
  EXPECT_EQ(Remove("nothing"), ENOENT);
  EXPECT_EQ(Move("d", "moved"), 0);
  EXPECT_EQ(Get("moved/e/f"), "content");
  EXPECT_EQ(StatError("d"), ENOENT);
  EXPECT_EQ(Move("moved", "moved/e/inside"), EINVAL);
  EXPECT_EQ(Make("other"), 0);
  EXPECT_EQ(Move("other", "moved"), ENOTEMPTY);
  EXPECT_EQ(Move("moved", "other"), 0);
  EXPECT_EQ(Move("nothing", "x"), ENOENT);
  EXPECT_EQ(Cut("nothing", 5), ENOENT);
  EXPECT_EQ(Cut("other", 5), EISDIR);
  EXPECT_EQ(Remove("other", true), 0);
  EXPECT_EQ(Names(""), Names_());
  EXPECT_EQ(Names("other"), Names_({"errno 2"}));
  EXPECT_EQ(Make("."), EINVAL);
  EXPECT_EQ(Make("a/../b"), EINVAL);
  EXPECT_EQ(Make(std::string(256, 'n')), ENAMETOOLONG);
  EXPECT_EQ(Remove(""), EPERM);
}

TEST_F(V1Files, CreatingWhatIsThereSetsItsModeAndIsRefusedWhenExclusive) {
  EXPECT_EQ(Put("f", "content"), 0);
  EXPECT_EQ(New("f", 0100755), 0);
  EXPECT_EQ(Info("f").mode(), 0100755u);
  EXPECT_EQ(Get("f"), "content");
  EXPECT_EQ(New("f", 0), 0);
  EXPECT_EQ(Info("f").mode(), 0100755u);
  EXPECT_EQ(Make("d", 0700), 0);
  EXPECT_EQ(Make("d", 040711), 0);
  EXPECT_EQ(Info("d").mode(), 040711u);

  const std::map<std::string, std::string> exclusive = {{"x-airstore-exclusive", "1"}};
  EXPECT_EQ(New("f", 0644, exclusive), EEXIST);
  EXPECT_EQ(Make("d", 0755, exclusive), EEXIST);
  EXPECT_EQ(Info("f").mode(), 0100755u);
  // Of many at once, one makes it; and each is told that it was understood.
  std::vector<std::future<int>> tries;
  for (int i = 0; i < 8; ++i) {
    tries.push_back(std::async(std::launch::async, [&] {
      ::context::ContextCreateRequest request;
      ::context::ContextCreateResponse response;
      request.set_path("one");
      const Told told = Create(request, &response, exclusive);
      EXPECT_EQ(told.trailing.count("x-airstore-exclusive"), 1u);
      return ErrorOf(told, response);
    }));
  }
  int made = 0;
  for (auto& one : tries) made += one.get() == 0 ? 1 : 0;
  EXPECT_EQ(made, 1);
  EXPECT_EQ(New("fifo", 010644), EOPNOTSUPP);
}

TEST_F(V1Files, SymbolicLinks) {
  EXPECT_EQ(Link("l", "some/where"), 0);
  EXPECT_EQ(Link("l", "else"), EEXIST);
  EXPECT_TRUE(Info("l").is_link());
  EXPECT_EQ(Info("l").mode(), 0120777u);
  ::context::ContextReadlinkRequest request;
  ::context::ContextReadlinkResponse response;
  request.set_path("l");
  EXPECT_EQ(ErrorOf(Readlink(request, &response), response), 0);
  EXPECT_EQ(response.target(), "some/where");
  EXPECT_EQ(Put("f", "x"), 0);
  request.set_path("f");
  response.Clear();
  EXPECT_EQ(ErrorOf(Readlink(request, &response), response), EINVAL);
  EXPECT_EQ(Get("l"), "errno " + std::to_string(EINVAL));
  EXPECT_EQ(Names(""), Names_({"f", "l"}));
}

TEST_F(V1Files, ReservedRootsAreThereWhenTheyAreNeeded) {
  EXPECT_EQ(Names("Skills"), Names_());
  EXPECT_EQ(Put("Skills/a.md", "a"), 0);
  EXPECT_EQ(Make("Memory/deep"), 0);
  EXPECT_EQ(Names("Skills"), Names_({"a.md"}));
  EXPECT_EQ(Remove("Skills", true), EPERM);
  EXPECT_EQ(Move("Skills", "Other"), EPERM);
  EXPECT_EQ(Get("/Skills/a.md"), "a");
  EXPECT_EQ(Make("tools"), 0);  // any other name is as good as any
  EXPECT_EQ(Remove("tools"), 0);
}

TEST_F(V1Files, ListingsAreWhole) {
  ASSERT_EQ(Make("many"), 0);
  Client v2(address_, token_, std::string(16, '1'));
  ASSERT_TRUE(v2.Open().ok());
  const uint64_t first = v2.opened.inodes().first();
  const uint64_t directory = v2.Lookup("many").entry().attr().inode();
  wire::ApplyRequest request;
  wire::ApplyResponse applied;
  for (uint64_t i = 0; i < 2500; ++i) {
    v2.AddFile(&request, "f" + std::to_string(10000 + i), first + i, "");
    request.mutable_mutations()->rbegin()->mutable_create()->set_parent(directory);
  }
  v2.AddFile(&request, "not \xff UTF-8", first + 2500, "");
  request.mutable_mutations()->rbegin()->mutable_create()->set_parent(directory);
  ASSERT_TRUE(v2.Apply(request, &applied).ok());
  EXPECT_EQ(Names("many").size(), 2500u);

  ASSERT_EQ(Make("many/f11/", 0), 0);
  ASSERT_EQ(Put("many/f11/inner", "x"), 0);
  ::context::ListTreeRequest list;
  ::context::ListTreeResponse page;
  std::vector<std::string> paths;
  int pages = 0;
  do {
    list.set_continuation_token(page.next_token());
    page.Clear();
    ASSERT_EQ(ErrorOf(ListTree(list, &page), page), 0);
    EXPECT_LE(page.entries_size(), 1000);
    EXPECT_EQ(page.truncated(), !page.next_token().empty());
    for (const auto& entry : page.entries()) paths.push_back(entry.path());
    ++pages;
  } while (page.truncated());
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(paths.size(), 2503u);  // many, many/f11, many/f11/inner and the files
  EXPECT_EQ(std::set(paths.begin(), paths.end()).size(), paths.size());
  EXPECT_NE(std::find(paths.begin(), paths.end(), "many/f11/inner"), paths.end());

  // In pages of any size, also when what the token names goes away in between.
  list.set_path("many");
  list.set_depth(1);
  list.set_max_keys(7);
  list.set_continuation_token("f10500");
  ASSERT_EQ(Remove("many/f10500"), 0);
  ASSERT_EQ(ErrorOf(ListTree(list, &page), page), 0);
  ASSERT_EQ(page.entries_size(), 7);
  EXPECT_EQ(page.entries(0).path(), "f10501");
  list.set_continuation_token("f11");
  ASSERT_EQ(ErrorOf(ListTree(list, &page), page), 0);
  EXPECT_EQ(page.entries(0).path(), "f11000");  // depth 1: not what is in f11
}

TEST_F(V1Files, TokensAreForTheirWorkspaceAndMayBeReadOnly) {
  MakeWorkspace("other");
  const std::string other = MakeToken("other");
  const std::string reader = MakeToken("work", true);
  ASSERT_EQ(Put("mine", "x"), 0);
  ::context::ContextStatRequest stat;
  ::context::ContextStatResponse response;
  stat.set_path("mine");
  EXPECT_EQ(Stat(stat, &response, {{"authorization", "Bearer " + other}}).error(), ENOENT);
  EXPECT_EQ(Stat(stat, &response, {{"authorization", "Bearer " + reader}}).error(), 0);
  EXPECT_TRUE(response.ok());
  EXPECT_EQ(New("no", 0, {{"authorization", "Bearer " + reader}}), EROFS);

  response.Clear();
  EXPECT_TRUE(Stat(stat, &response, {{"authorization", ""}}).status.ok());
  EXPECT_FALSE(response.ok());
  EXPECT_EQ(response.error(), "no auth context");
  EXPECT_EQ(Stat(stat, &response, {{"authorization", "Bearer wrong"}}).status.error_code(),
            Code::UNAUTHENTICATED);
  response.Clear();
  EXPECT_TRUE(Stat(stat, &response, {{"authorization", "Bearer " + admin_secret_}}).status.ok());
  EXPECT_EQ(response.error(), "no workspace");
}

TEST_F(V1Files, HostsOfV2SeeItAtOnceAndTheirChangesAreSeen) {
  Client v2(address_, token_, std::string(16, '1'));
  v2.want_lease = true;
  ASSERT_TRUE(v2.Open().ok());
  ASSERT_NE(v2.opened.lease().id(), 0u);
  auto context = v2.Context();
  wire::WatchRequest request;
  request.set_session_id(v2.session_id);
  request.set_cursor(v2.opened.watch_cursor());
  auto stream = v2.storage->Watch(context.get(), request);
  stream->WaitForInitialMetadata();

  // The lease is recalled; what its holder has not said yet comes first.
  auto written = std::async(std::launch::async, [&] { return Put("theirs", "new"); });
  wire::WatchEvent event;
  ASSERT_TRUE(stream->Read(&event));
  ASSERT_EQ(event.lease_recall(), v2.opened.lease().id());
  wire::ApplyRequest apply;
  wire::ApplyResponse applied;
  v2.AddFile(&apply, "theirs", v2.opened.inodes().first(), "old content");
  apply.set_lease_id(event.lease_recall());
  ASSERT_TRUE(v2.Apply(apply, &applied).ok());
  EXPECT_EQ(written.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout);
  wire::ReleaseLeaseRequest release;
  wire::ReleaseLeaseResponse released;
  release.set_session_id(v2.session_id);
  release.set_lease_id(event.lease_recall());
  ASSERT_TRUE(v2.Call(&wire::Storage::Stub::ReleaseLease, release, &released).ok());

  // Who watches hears of it before it is answered.
  do {
    ASSERT_TRUE(stream->Read(&event));
  } while (!event.has_changed());
  EXPECT_NE(written.wait_for(std::chrono::milliseconds(100)), std::future_status::ready);
  wire::AckWatchRequest ack;
  wire::AckWatchResponse acknowledged;
  ack.set_session_id(v2.session_id);
  ack.set_cursor(event.cursor());
  ASSERT_TRUE(v2.Call(&wire::Storage::Stub::AckWatch, ack, &acknowledged).ok());
  EXPECT_EQ(written.get(), 0);
  EXPECT_EQ(v2.Lookup("theirs", 100).entry().content(), "new content");

  // Nobody is alone while v1 callers are about.
  wire::AcquireLeaseRequest acquire;
  wire::AcquireLeaseResponse acquired;
  acquire.set_session_id(v2.session_id);
  acquire.set_inode(1);
  ASSERT_TRUE(v2.Call(&wire::Storage::Stub::AcquireLease, acquire, &acquired).ok());
  EXPECT_EQ(acquired.lease().id(), 0u);
  context->TryCancel();
  while (stream->Read(&event)) {
  }
  (void)stream->Finish();
}

TEST_F(V1Files, WhatIsRefusedByTheQuotaLeavesNothing) {
  wire::UpdateWorkspaceRequest update;
  wire::Workspace workspace;
  update.set_name("work");
  update.set_quota_bytes(1000);
  ASSERT_TRUE(Admin().Call(&wire::Admin::Stub::UpdateWorkspace, update, &workspace).ok());
  EXPECT_EQ(Put("f", std::string(2000, 'x')), EDQUOT);
  EXPECT_EQ(StatError("f"), ENOENT);
  size_t blocks = 0;
  ASSERT_TRUE(gateway_->blocks().store().List(INT64_MAX, [&](const BlockKey&) { ++blocks; }));
  EXPECT_EQ(blocks, 0u);
}

// Where each look is a question of its own, what comes in between is not for callers to see.
TEST_F(V1Files, WhoLooksIsNotDisturbedByChanges) {
  ASSERT_EQ(Make("d"), 0);
  ASSERT_EQ(Make("d/e"), 0);
  ASSERT_EQ(Put("d/e/kept", "kept"), 0);
  std::atomic<bool> stop{false};
  std::thread changes([&] {
    while (!stop) {
      EXPECT_EQ(Put("d/e/moved", "x"), 0);
      EXPECT_EQ(Move("d/e/moved", "d/moved"), 0);
      EXPECT_EQ(Remove("d/moved"), 0);
    }
  });
  ::context::ListTreeRequest list;
  for (int i = 0; i < 150; ++i) {
    EXPECT_EQ(StatError("d/e/kept"), 0);
    EXPECT_EQ(Get("d/e/kept"), "kept");
    const auto names = Names("d/e");
    EXPECT_EQ(names.front(), "kept");
    ::context::ListTreeResponse page;
    EXPECT_EQ(ErrorOf(ListTree(list, &page), page), 0);
  }
  stop = true;
  changes.join();
}

// With the size that it has seen, a client would cut off what was appended since.
TEST_F(V1Files, TouchingLeavesTheContent) {
  ASSERT_EQ(Put("f", "content"), 0);
  ::context::ContextTruncateRequest request;
  ::context::ContextTruncateResponse response;
  request.set_path("f");
  request.set_size(3);
  const Told told = Truncate(request, &response, {{"x-airstore-touch", "1"}});
  EXPECT_EQ(ErrorOf(told, response), 0);
  EXPECT_EQ(Get("f"), "content");
  request.set_path("nothing");
  EXPECT_EQ(ErrorOf(Truncate(request, &response, {{"x-airstore-touch", "1"}}), response), ENOENT);
}

class V1StoreAway : public V1Files {
 protected:
  V1StoreAway() : redis_(directory_.path() + "/redis") {
    options_.metadata = redis_.url() + "?timeout=1";
    options_.blocks = "file://" + directory_.path() + "/blocks";
  }
  e2e::RedisServer redis_;
};

// A refusal is for good: who hears one gives up what it wanted to write.
TEST_F(V1StoreAway, IsNoRefusal) {
  MakeWorkspace("_gateway");
  // The one caller that is known without the store, which is met only behind that.
  token_ = admin_secret_;
  ASSERT_EQ(Put("f", "before"), 0);
  redis_.Kill();
  ::context::ContextWriteRequest write;
  ::context::ContextWriteResponse written;
  write.set_path("f");
  write.set_data("after");
  EXPECT_EQ(Write(write, &written).status.error_code(), Code::UNAVAILABLE);
  ::context::ContextStatRequest stat;
  ::context::ContextStatResponse info;
  stat.set_path("f");
  EXPECT_EQ(Stat(stat, &info).status.error_code(), Code::UNAVAILABLE);
  ::gateway::ListWorkspacesRequest list;
  ::gateway::ListWorkspacesResponse listed;
  EXPECT_EQ(Call("/gateway.GatewayService/ListWorkspaces", list, &listed).status.error_code(),
            Code::UNAVAILABLE);
  redis_.Start();
  int error = -1;
  while (error == -1) error = Put("f", "after");  // until it is met again
  EXPECT_EQ(error, 0);
  EXPECT_EQ(Get("f"), "aftere");
}

TEST_F(V1Files, TheOldMetadataServiceSpeaksOfTheSameFiles) {
  ::filesystem::StatRequest stat;
  ::filesystem::StatResponse info;
  stat.set_path("//");  // how a mount of the first clients begins
  ASSERT_TRUE(Call("/filesystem.FilesystemService/Stat", stat, &info).status.ok());
  EXPECT_TRUE(info.ok());
  EXPECT_TRUE(info.info().is_dir());
  EXPECT_EQ(info.info().path(), "/");
  ::filesystem::MkdirRequest mkdir;
  ::filesystem::MkdirResponse made;
  mkdir.set_path("/d");
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(Call("/filesystem.FilesystemService/Mkdir", mkdir, &made).status.ok());
    EXPECT_TRUE(made.ok());
  }
  ::filesystem::CreateRequest create;
  ::filesystem::CreateResponse created;
  create.set_path("/d/f");
  ASSERT_TRUE(Call("/filesystem.FilesystemService/Create", create, &created).status.ok());
  ::filesystem::ChmodRequest chmod;
  ::filesystem::ChmodResponse changed;
  chmod.set_path("d/f");
  chmod.set_mode(0751);
  ASSERT_TRUE(Call("/filesystem.FilesystemService/Chmod", chmod, &changed).status.ok());
  EXPECT_TRUE(changed.ok());
  EXPECT_EQ(Info("d/f").mode(), 0100751u);
  ::filesystem::ReadDirRequest list;
  ::filesystem::ReadDirResponse listed;
  list.set_path("d");
  ASSERT_TRUE(Call("/filesystem.FilesystemService/ReadDir", list, &listed).status.ok());
  ASSERT_EQ(listed.entries_size(), 1);
  EXPECT_EQ(listed.entries(0).mode(), 0100751u);
  ::filesystem::RenameRequest rename;
  ::filesystem::RenameResponse renamed;
  rename.set_old_path("/d");
  rename.set_new_path("/e");
  ASSERT_TRUE(Call("/filesystem.FilesystemService/Rename", rename, &renamed).status.ok());
  EXPECT_EQ(Names("e"), Names_({"f"}));
  ::filesystem::RemoveRequest remove;
  ::filesystem::RemoveResponse removed;
  remove.set_path("/e");
  EXPECT_EQ(Call("/filesystem.FilesystemService/Remove", remove, &removed).error(), ENOTEMPTY);
}

struct V1Only : V1Files {
  V1Only() : V1Files(Options()) {}
  static ServerOptions Options() {
    ServerOptions options;
    options.protocol = Protocol::kV1;
    options.config.offset_zero_replaces = true;
    return options;
  }
};

TEST_F(V1Only, OtherProtocolsAreUnimplemented) {
  Client v2(address_, token_, std::string(16, '1'));
  EXPECT_EQ(v2.Open().error_code(), Code::UNIMPLEMENTED);
  EXPECT_EQ(Put("f", "x"), 0);
}

TEST_F(V1Only, OffsetZeroMayReplaceTheFile) {
  EXPECT_EQ(Put("f", "0123456789"), 0);
  EXPECT_EQ(Put("f", "AB"), 0);
  EXPECT_EQ(Get("f"), "AB");
  EXPECT_EQ(Put("f", "C", 1), 0);
  EXPECT_EQ(Get("f"), "AC");
  // Brokers take whoever tells them errnos for one that keeps tails.
  ::context::ContextStatRequest stat;
  ::context::ContextStatResponse info;
  stat.set_path("nothing");
  const Told told = Stat(stat, &info);
  EXPECT_FALSE(info.ok());
  EXPECT_EQ(told.trailing.count("x-airstore-errno"), 0u);
}

struct V2Only : V1Files {
  V2Only() : V1Files(Options()) {}
  static ServerOptions Options() {
    ServerOptions options;
    options.protocol = Protocol::kV2;
    return options;
  }
};

TEST_F(V2Only, V1IsUnimplemented) {
  ::context::ContextStatRequest stat;
  ::context::ContextStatResponse response;
  EXPECT_EQ(Stat(stat, &response).status.error_code(), Code::UNIMPLEMENTED);
  Client v2(address_, token_, std::string(16, '1'));
  EXPECT_TRUE(v2.Open().ok());
}

}  // namespace
}  // namespace airstore::gateway
