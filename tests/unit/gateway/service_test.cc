// SPDX-License-Identifier: Apache-2.0
//
// The services end to end: a real server on a unix socket and real channels. With
// AIRSTORE_TEST_ENGINE=redis there are two gateways on one Redis, and each call of a client goes to
// the one that did not have the last one.
#include <fcntl.h>
#include <grpcpp/generic/generic_stub.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <zstd.h>

#include <fstream>
#include <future>
#include <sstream>
#include <thread>

#include "tests/unit/gateway/bench.h"
#include "tests/unit/gateway/client.h"
#include "tools/gateway/gateway.h"
#include "tools/gateway/server.h"

namespace airstore::gateway {
namespace {

using Stub = wire::Storage::Stub;
using AdminStub = wire::Admin::Stub;

class Service : public testing::Test {
 protected:
  Service() {
    GatewayOptions& options = options_;
    options.data_dir = directory_.path() + "/data";
    options.session_lifetime = std::chrono::seconds(60);
    const std::string redis = SharedRedisUrl(directory_.path());
    if (!redis.empty()) {
      options.metadata = redis;
      options.blocks = "file://" + directory_.path() + "/blocks";
    }
    address_ = "unix:" + directory_.path() + "/socket";
    Start(options, address_, &gateway_, &server_);
    if (!redis.empty()) {
      options.admin_token_file = options.data_dir + "/admin-token";
      options.data_dir = directory_.path() + "/other";
      other_address_ = "unix:" + directory_.path() + "/other-socket";
      Start(options, other_address_, &other_gateway_, &other_server_);
      options.data_dir = directory_.path() + "/data";
    }
    std::ifstream(options.data_dir + "/admin-token") >> admin_secret_;
    wire::CreateWorkspaceRequest request;
    request.set_name("work");
    wire::Workspace workspace;
    EXPECT_TRUE(Admin().Call(&AdminStub::CreateWorkspace, request, &workspace).ok());
    workspace_id_ = workspace.id();
  }

  static void Start(const GatewayOptions& options, const std::string& address,
                    std::unique_ptr<Gateway>* gateway, std::unique_ptr<Server>* server) {
    auto opened = Gateway::Open(options);
    ASSERT_TRUE(opened) << opened.error().ToString();
    *gateway = std::move(*opened);
    ServerOptions listening;
    listening.listen = address;
    auto started = Server::Start(**gateway, listening);
    ASSERT_TRUE(started) << started.error().ToString();
    *server = std::move(*started);
  }

  bool HasFile(const std::string& name) {
    auto reader = gateway_->store().Read();
    const auto workspace = (*reader)->FindWorkspace("work");
    return (*reader)->GetEntry(workspace->key, kRootInode, name).has_value();
  }
  // Of a gateway that is the only one.
  void Restart() {
    server_.reset();
    gateway_.reset();
    Start(options_, address_, &gateway_, &server_);
  }

  Client Admin() { return Client(address_, admin_secret_, std::string(16, 'A'), other_address_); }

  wire::CreateTokenResponse MakeToken(const std::string& principal, bool read_only = false) {
    wire::CreateTokenRequest request;
    request.set_workspace("work");
    request.set_principal(principal);
    request.set_read_only(read_only);
    wire::CreateTokenResponse response;
    EXPECT_TRUE(Admin().Call(&AdminStub::CreateToken, request, &response).ok());
    return response;
  }
  Client NewClient(char id, const std::string& principal = "alice", bool read_only = false) {
    return Client(address_, MakeToken(principal, read_only).secret(), std::string(16, id),
                  other_address_);
  }

  TempDirectory directory_;
  GatewayOptions options_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Gateway> other_gateway_;
  std::unique_ptr<Server> other_server_;
  std::string address_;
  std::string other_address_;  // empty: there is one gateway
  std::string admin_secret_;
  std::string workspace_id_;
};

// Self-signed, for localhost.
void MakeCertificate(const std::string& cert_path, const std::string& key_path) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* cert = X509_new();
  X509_set_version(cert, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
  X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
  X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
  X509_set_pubkey(cert, key);
  X509_NAME* name = X509_get_subject_name(cert);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
  X509_set_issuer_name(cert, name);
  X509_EXTENSION* names =
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "DNS:localhost");
  X509_add_ext(cert, names, -1);
  X509_EXTENSION_free(names);
  X509_sign(cert, key, EVP_sha256());
  BIO* out = BIO_new_file(cert_path.c_str(), "w");
  PEM_write_bio_X509(out, cert);
  BIO_free(out);
  out = BIO_new_file(key_path.c_str(), "w");
  PEM_write_bio_PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr);
  BIO_free(out);
  X509_free(cert);
  EVP_PKEY_free(key);
}

grpc::StatusCode CodeOf(const grpc::Status& status) { return status.error_code(); }

TEST_F(Service, ASessionOpensWritesResolvesAndResumes) {
  Client c = NewClient('1');
  ASSERT_TRUE(c.Open().ok());
  EXPECT_FALSE(c.opened.resumed());
  EXPECT_EQ(c.opened.workspace_name(), "work");
  EXPECT_EQ(c.opened.workspace_id(), workspace_id_);
  EXPECT_EQ(c.opened.root().mode(), 040755u);
  EXPECT_EQ(c.opened.principal(), "alice");
  EXPECT_GE(c.opened.inodes().count(), 65536u);
  EXPECT_EQ(c.opened.limits().block_bytes(), kBlockBytes);
  const uint64_t ino = c.opened.inodes().first();
  wire::ApplyRequest request;
  wire::ApplyResponse response;
  c.AddFile(&request, "f", ino, "hello");
  ASSERT_TRUE(c.Apply(request, &response).ok());
  ASSERT_EQ(response.results_size(), 2);
  EXPECT_EQ(response.results(1).error(), 0);
  const wire::ResolveResult found = c.Lookup("f", 100);
  EXPECT_EQ(found.entry().attr().inode(), ino);
  EXPECT_EQ(found.entry().content(), "hello");
  EXPECT_TRUE(found.entry().content_inlined());
  EXPECT_EQ(c.Lookup("g").error(), ENOENT);
  ASSERT_TRUE(c.Open("work").ok());
  EXPECT_TRUE(c.opened.resumed());
  EXPECT_EQ(c.opened.last_applied_sequence(), 2u);
}

// What a layout names may be part of another file, which keeps it when the first one goes.
TEST_F(Service, FilesShareBlocks) {
  Client c = NewClient('1');
  ASSERT_TRUE(c.Open().ok());
  const uint64_t ino = c.opened.inodes().first();
  wire::ApplyRequest made;
  wire::ApplyResponse response;
  c.AddFile(&made, "f", ino, "hello ");
  c.AddFile(&made, "g", ino + 1, "");
  wire::Write* more = c.Add(&made)->mutable_write();
  more->set_inode(ino);
  wire::Extent* extent = more->add_extents();
  extent->set_offset(6);
  extent->set_length(5);
  extent->set_data("world");
  ASSERT_TRUE(c.Apply(made, &response).ok());

  const auto layout = [&](uint64_t offset, bool blocks) {
    wire::ResolveRequest request;
    wire::ResolveResponse answer;
    request.set_session_id(c.session_id);
    wire::LayoutItem* item = request.add_items()->mutable_layout();
    item->set_inode(ino);
    item->set_offset(offset);
    item->set_blocks(blocks);
    EXPECT_TRUE(c.Call(&Stub::Resolve, request, &answer).ok());
    return answer.results(0).layout();
  };
  EXPECT_EQ(layout(0, false).runs_size(), 1);
  EXPECT_EQ(layout(0, false).blocks_size(), 0);
  EXPECT_EQ(layout(0, true).runs_size(), 2);
  const wire::Layout found = layout(2, true);
  ASSERT_EQ(found.runs_size(), 2);
  ASSERT_EQ(found.blocks_size(), 2);
  EXPECT_EQ(found.runs(0).offset(), 2u);
  EXPECT_EQ(found.runs(0).length(), 4u);

  wire::ApplyRequest copy;
  wire::Write* write = c.Add(&copy)->mutable_write();
  write->set_inode(ino + 1);
  for (int i = 0; i < 2; ++i) {
    wire::Extent* part = write->add_extents();
    part->set_offset(found.runs(i).offset() - 2);
    part->set_length(found.runs(i).length());
    *part->mutable_block() = found.blocks(i);
  }
  wire::SetAttr* cut = c.Add(&copy)->mutable_setattr();
  cut->set_inode(ino);
  cut->set_size(0);
  ASSERT_TRUE(c.Apply(copy, &response).ok());
  EXPECT_EQ(response.results(0).error(), 0);
  EXPECT_EQ(c.Lookup("g", 100).entry().content(), "llo world");
}

// A broker that comes back after days sends again what it does not know the answer of.
TEST_F(Service, AnExpiredSessionIsResumedWithItsNumbers) {
  Client c = NewClient('1');
  ASSERT_TRUE(c.Open().ok());
  wire::ApplyRequest request;
  wire::ApplyResponse first;
  c.AddFile(&request, "f", c.opened.inodes().first(), "hello");
  ASSERT_TRUE(c.Apply(request, &first).ok());
  ASSERT_EQ(ExpireAll(gateway_->sessions()).size(), 1u);
  ASSERT_TRUE(c.Open().ok());
  EXPECT_TRUE(c.opened.resumed());
  EXPECT_EQ(c.opened.last_applied_sequence(), 2u);
  wire::ApplyResponse again;
  ASSERT_TRUE(c.Apply(request, &again).ok());
  EXPECT_EQ(again.SerializeAsString(), first.SerializeAsString());
  EXPECT_EQ(c.Lookup("f", 100).entry().content(), "hello");
}

TEST_F(Service, CallsWithoutAValidTokenOrSessionAreRefused) {
  Client stranger(address_, "ast_wrong", std::string(16, '1'));
  EXPECT_EQ(CodeOf(stranger.Open("work")), grpc::StatusCode::UNAUTHENTICATED);
  Client c = NewClient('1');
  EXPECT_EQ(CodeOf(c.Open("other")), grpc::StatusCode::PERMISSION_DENIED);
  wire::StatFsRequest statfs;
  wire::StatFsResponse space;
  statfs.set_session_id(c.session_id);
  EXPECT_EQ(CodeOf(c.Call(&Stub::StatFs, statfs, &space)), grpc::StatusCode::FAILED_PRECONDITION);
  statfs.set_session_id("short");
  EXPECT_EQ(CodeOf(c.Call(&Stub::StatFs, statfs, &space)), grpc::StatusCode::INVALID_ARGUMENT);
  ASSERT_TRUE(c.Open().ok());
  Client thief = NewClient('1', "mallory");
  EXPECT_EQ(CodeOf(thief.Open()), grpc::StatusCode::PERMISSION_DENIED);
  statfs.set_session_id(c.session_id);
  EXPECT_EQ(CodeOf(thief.Call(&Stub::StatFs, statfs, &space)), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_TRUE(c.Call(&Stub::StatFs, statfs, &space).ok());
  EXPECT_GT(space.total_bytes(), 0u);
}

TEST_F(Service, OnlyTheAdminAdministers) {
  Client c = NewClient('1');
  wire::ListWorkspacesRequest list;
  wire::ListWorkspacesResponse listed;
  EXPECT_EQ(CodeOf(c.Call(&AdminStub::ListWorkspaces, list, &listed)),
            grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_TRUE(Admin().Call(&AdminStub::ListWorkspaces, list, &listed).ok());
  ASSERT_EQ(listed.workspaces_size(), 1);
  EXPECT_EQ(listed.workspaces(0).inodes(), 1u);
  wire::CreateWorkspaceRequest create;
  wire::Workspace workspace;
  create.set_name("work");
  EXPECT_EQ(CodeOf(Admin().Call(&AdminStub::CreateWorkspace, create, &workspace)),
            grpc::StatusCode::ALREADY_EXISTS);
  create.set_name("a/b");
  EXPECT_EQ(CodeOf(Admin().Call(&AdminStub::CreateWorkspace, create, &workspace)),
            grpc::StatusCode::INVALID_ARGUMENT);
  Client admin = Admin();
  EXPECT_TRUE(admin.Open("work").ok());
  EXPECT_EQ(CodeOf(admin.Open("nowhere")), grpc::StatusCode::NOT_FOUND);
}

TEST_F(Service, ARevokedTokenEndsSessionsAndWatches) {
  const wire::CreateTokenResponse token = MakeToken("bob");
  Client c(address_, token.secret(), std::string(16, '1'));
  ASSERT_TRUE(c.Open().ok());
  wire::WatchRequest watch;
  watch.set_session_id(c.session_id);
  watch.set_cursor(c.opened.watch_cursor());
  auto context = c.Context();
  auto stream = c.storage->Watch(context.get(), watch);
  stream->WaitForInitialMetadata();
  wire::RevokeTokenRequest revoke;
  wire::RevokeTokenResponse revoked;
  revoke.set_id(token.token().id());
  ASSERT_TRUE(Admin().Call(&AdminStub::RevokeToken, revoke, &revoked).ok());
  wire::WatchEvent event;
  EXPECT_FALSE(stream->Read(&event));
  EXPECT_EQ(CodeOf(stream->Finish()), grpc::StatusCode::UNAUTHENTICATED);
  wire::KeepAliveRequest alive;
  wire::KeepAliveResponse answer;
  alive.set_session_id(c.session_id);
  EXPECT_EQ(CodeOf(c.Call(&Stub::KeepAlive, alive, &answer)), grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(Service, AReadOnlyTokenReadsOnly) {
  Client c = NewClient('1', "reader", true);
  c.want_lease = true;
  ASSERT_TRUE(c.Open().ok());
  EXPECT_TRUE(c.opened.read_only());
  EXPECT_FALSE(c.opened.has_lease());
  wire::ApplyRequest request;
  wire::ApplyResponse response;
  c.AddFile(&request, "f", c.opened.inodes().first(), "x");
  ASSERT_TRUE(c.Apply(request, &response).ok());
  EXPECT_EQ(response.results(0).error(), EROFS);
  EXPECT_EQ(response.results(1).error(), EROFS);
}

// A watch of a client's session, read by the test.
class Watching {
 public:
  explicit Watching(Client& client) : client_(client), context_(client.Context()) {
    wire::WatchRequest request;
    request.set_session_id(client.session_id);
    request.set_cursor(client.opened.watch_cursor());
    stream_ = client.storage->Watch(context_.get(), request);
    stream_->WaitForInitialMetadata();
  }
  ~Watching() {
    context_->TryCancel();
    wire::WatchEvent event;
    while (stream_->Read(&event)) {
    }
    (void)stream_->Finish();
  }
  wire::WatchEvent Next() {
    wire::WatchEvent event;
    EXPECT_TRUE(stream_->Read(&event));
    return event;
  }
  void Acknowledge(const wire::WatchEvent& event) {
    wire::AckWatchRequest request;
    wire::AckWatchResponse response;
    request.set_session_id(client_.session_id);
    request.set_cursor(event.cursor());
    EXPECT_TRUE(client_.Call(&Stub::AckWatch, request, &response).ok());
  }

 private:
  Client& client_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReader<wire::WatchEvent>> stream_;
};

wire::AcquireLeaseResponse Acquire(Client& client) {
  wire::AcquireLeaseRequest request;
  wire::AcquireLeaseResponse response;
  request.set_session_id(client.session_id);
  request.set_inode(1);
  EXPECT_TRUE(client.Call(&Stub::AcquireLease, request, &response).ok());
  return response;
}

void Release(Client& client, uint64_t lease_id) {
  wire::ReleaseLeaseRequest request;
  wire::ReleaseLeaseResponse response;
  request.set_session_id(client.session_id);
  request.set_lease_id(lease_id);
  EXPECT_TRUE(client.Call(&Stub::ReleaseLease, request, &response).ok());
}

TEST_F(Service, AChangeIsAnsweredWhenOthersHaveSeenIt) {
  Client one = NewClient('1');
  Client two = NewClient('2', "bob");
  ASSERT_TRUE(one.Open().ok());
  ASSERT_TRUE(two.Open().ok());
  Watching watch(one);
  wire::ApplyRequest request;
  wire::ApplyResponse response;
  one.AddFile(&request, "mine", one.opened.inodes().first(), "");
  ASSERT_TRUE(one.Apply(request, &response).ok());
  request.Clear();
  two.AddFile(&request, "theirs", two.opened.inodes().first(), "");
  auto applied = std::async(std::launch::async, [&] { return two.Apply(request, &response).ok(); });
  const wire::WatchEvent event = watch.Next();
  ASSERT_EQ(event.changed().names_size(), 1);
  EXPECT_EQ(event.changed().names(0).name(), "theirs");
  EXPECT_EQ(applied.wait_for(std::chrono::milliseconds(300)), std::future_status::timeout);
  watch.Acknowledge(event);
  EXPECT_TRUE(applied.get());
}

// A zone is a directory in the root: what is below it is told to who has read or changed something
// there, and nobody else is waited for.
TEST_F(Service, ChangesBelowADirectoryOfTheRootAreToldToWhoHasSomethingOfIt) {
  Client one = NewClient('1');
  Client two = NewClient('2', "bob");
  ASSERT_TRUE(one.Open().ok());
  const uint64_t zone = one.opened.inodes().first();
  uint64_t next = zone;
  const auto make = [&](const std::string& name, uint64_t parent, uint32_t mode) {
    wire::ApplyRequest request;
    wire::ApplyResponse response;
    wire::Create* create = one.Add(&request)->mutable_create();
    create->set_parent(parent);
    create->set_name(name);
    create->set_inode(next++);
    create->set_mode(mode);
    return one.Apply(request, &response).ok() && response.results(0).error() == 0;
  };
  ASSERT_TRUE(make("zone", 1, 0040755));
  ASSERT_TRUE(make("below", zone, 0040755));
  ASSERT_TRUE(two.Open().ok());
  Watching watch(two);
  const SteadyTime begun = SteadyNow();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(make(std::to_string(i), zone + 1, 0100644));
  EXPECT_LT(SteadyNow() - begun, std::chrono::milliseconds(1500)) << "for an acknowledgement";
  auto applied = std::async(std::launch::async, [&] { return make("first", 1, 0100644); });
  wire::WatchEvent event = watch.Next();
  ASSERT_EQ(event.changed().names_size(), 1);
  EXPECT_EQ(event.changed().names(0).name(), "first") << "of the others it was not told";
  watch.Acknowledge(event);
  EXPECT_TRUE(applied.get());

  wire::ResolveRequest resolve;
  wire::ResolveResponse resolved;
  resolve.set_session_id(two.session_id);
  resolve.add_items()->mutable_getattr()->set_inode(zone + 2);
  ASSERT_TRUE(two.Call(&Stub::Resolve, resolve, &resolved).ok());
  EXPECT_EQ(resolved.results(0).entry().attr().parent(), zone + 1);
  applied = std::async(std::launch::async, [&] { return make("second", zone + 1, 0100644); });
  event = watch.Next();
  ASSERT_EQ(event.changed().names_size(), 1);
  EXPECT_EQ(event.changed().names(0).name(), "second");
  EXPECT_EQ(applied.wait_for(std::chrono::milliseconds(200)), std::future_status::timeout);
  watch.Acknowledge(event);
  EXPECT_TRUE(applied.get());

  wire::ForgetZoneRequest forget;
  wire::ForgetZoneResponse forgotten;
  forget.set_session_id(two.session_id);
  forget.set_zone(zone);
  ASSERT_TRUE(two.Call(&Stub::ForgetZone, forget, &forgotten).ok());
  ASSERT_TRUE(make("third", zone + 1, 0100644));
  applied = std::async(std::launch::async, [&] { return make("last", 1, 0100644); });
  event = watch.Next();
  EXPECT_EQ(event.changed().names(0).name(), "last");
  watch.Acknowledge(event);
  EXPECT_TRUE(applied.get());
}

TEST_F(Service, WhoDoesNotAcknowledgeIsNotWaitedForAndMissesSomething) {
  Client one = NewClient('1');
  Client two = NewClient('2', "bob");
  ASSERT_TRUE(one.Open().ok());
  ASSERT_TRUE(two.Open().ok());
  {
    Watching silent(one);
    wire::ApplyRequest request;
    wire::ApplyResponse response;
    two.AddFile(&request, "a", two.opened.inodes().first(), "");
    EXPECT_TRUE(two.Apply(request, &response).ok());
    request.Clear();
    two.AddFile(&request, "b", two.opened.inodes().first() + 1, "");
    const SteadyTime begun = SteadyNow();
    EXPECT_TRUE(two.Apply(request, &response).ok());
    EXPECT_LT(SteadyNow() - begun, std::chrono::seconds(1));
  }
  Watching again(one);
  EXPECT_TRUE(again.Next().gap());
}

// Of the alone one: several keep who watches in their store.
TEST_F(Service, WhoWatchedBeforeARestartIsWaitedForAfterIt) {
  if (other_gateway_) return;
  // Long enough to tell an acknowledgement from it on a busy machine.
  constexpr std::chrono::seconds kPatience(15);
  options_.watch_patience = kPatience;
  Client one = NewClient('1');
  Client two = NewClient('2', "bob");
  ASSERT_TRUE(one.Open().ok());
  ASSERT_TRUE(two.Open().ok());
  wire::ApplyRequest before;
  wire::ApplyResponse response;
  two.AddFile(&before, "a", two.opened.inodes().first(), "");
  {
    Watching watch(one);
    auto applied =
        std::async(std::launch::async, [&] { return two.Apply(before, &response).ok(); });
    watch.Acknowledge(watch.Next());
    ASSERT_TRUE(applied.get());
  }
  wire::ApplyRequest request;
  two.AddFile(&request, "b", two.opened.inodes().first() + 1, "");
  // A batch that is new, and one whose answer may have been lost with the gateway.
  for (const wire::ApplyRequest* batch : {&request, &before}) {
    Restart();
    wire::ApplyResponse answer;
    const SteadyTime begun = SteadyNow();
    auto applied = std::async(std::launch::async, [&] { return two.Apply(*batch, &answer).ok(); });
    while (!HasFile(batch == &request ? "b" : "a")) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    EXPECT_EQ(applied.wait_for(std::chrono::milliseconds(300)), std::future_status::timeout);
    Watching again(one);
    const wire::WatchEvent event = again.Next();
    EXPECT_TRUE(event.gap());
    EXPECT_EQ(applied.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
    again.Acknowledge(event);
    EXPECT_TRUE(applied.get());
    EXPECT_LT(SteadyNow() - begun, kPatience) << "its acknowledgement was not what it waited for";
  }
  // One that does not come back is waited for once.
  options_.watch_patience = std::chrono::milliseconds(500);
  Restart();
  request.Clear();
  two.AddFile(&request, "c", two.opened.inodes().first() + 2, "");
  EXPECT_TRUE(two.Apply(request, &response).ok());
  const SteadyTime begun = SteadyNow();
  request.Clear();
  two.AddFile(&request, "d", two.opened.inodes().first() + 3, "");
  EXPECT_TRUE(two.Apply(request, &response).ok());
  EXPECT_LT(SteadyNow() - begun, std::chrono::milliseconds(400));
}

TEST_F(Service, ALeaseIsRecalledOverTheWatch) {
  Client one = NewClient('1');
  Client two = NewClient('2', "bob");
  one.want_lease = true;
  ASSERT_TRUE(one.Open().ok());
  ASSERT_TRUE(one.opened.has_lease());
  Watching watch(one);
  ASSERT_TRUE(two.Open().ok());  // which alone recalls nothing
  EXPECT_TRUE(Acquire(two).held_by_other());
  const wire::WatchEvent event = watch.Next();
  EXPECT_EQ(event.lease_recall(), one.opened.lease().id());
  Release(one, event.lease_recall());
  const wire::AcquireLeaseResponse here = Acquire(two);
  EXPECT_FALSE(here.held_by_other());
  EXPECT_FALSE(here.has_lease()) << "not alone";
  wire::CloseSessionRequest close;
  wire::CloseSessionResponse closed;
  close.set_session_id(one.session_id);
  ASSERT_TRUE(one.Call(&Stub::CloseSession, close, &closed).ok());
  EXPECT_GT(Acquire(two).lease().id(), one.opened.lease().id());
}

TEST_F(Service, NothingIsReadOrChangedBesideALease) {
  Client one = NewClient('1');
  Client two = NewClient('2', "bob");
  ASSERT_TRUE(one.Open().ok());
  const uint64_t lease = Acquire(one).lease().id();
  ASSERT_NE(lease, 0u);
  ASSERT_TRUE(two.Open().ok());
  wire::ApplyRequest request;
  wire::ApplyResponse response;
  two.AddFile(&request, "f", two.opened.inodes().first(), "");
  EXPECT_EQ(CodeOf(two.Apply(request, &response)), grpc::StatusCode::ABORTED);
  wire::ResolveRequest resolve;
  wire::ResolveResponse resolved;
  resolve.set_session_id(two.session_id);
  EXPECT_EQ(CodeOf(two.Call(&Stub::Resolve, resolve, &resolved)), grpc::StatusCode::ABORTED);
  wire::ApplyRequest leased;
  leased.set_lease_id(lease);
  one.AddFile(&leased, "f", one.opened.inodes().first(), "");
  EXPECT_TRUE(one.Apply(leased, &response).ok());
  Release(one, lease);
  EXPECT_TRUE(two.Apply(request, &response).ok());
  EXPECT_EQ(response.results(0).error(), EEXIST);
}

TEST_F(Service, WhatWasMadeUnderALostLeaseIsNotApplied) {
  Client c = NewClient('1');
  ASSERT_TRUE(c.Open().ok());
  const uint64_t lease = Acquire(c).lease().id();
  wire::ApplyRequest request;
  wire::ApplyResponse response;
  request.set_lease_id(lease);
  c.AddFile(&request, "first", c.opened.inodes().first(), "");
  ASSERT_TRUE(c.Apply(request, &response).ok());
  EXPECT_FALSE(response.lease_lost());
  Release(c, lease);
  ASSERT_TRUE(c.Apply(request, &response).ok());
  EXPECT_FALSE(response.lease_lost()) << "it was applied before";
  c.AddFile(&request, "second", c.opened.inodes().first() + 1, "");
  ASSERT_TRUE(c.Apply(request, &response).ok());
  EXPECT_TRUE(response.lease_lost());
  EXPECT_EQ(c.Lookup("second").error(), ENOENT);
  request.set_lease_id(0);
  ASSERT_TRUE(c.Apply(request, &response).ok());
  EXPECT_FALSE(response.lease_lost());
  EXPECT_EQ(c.Lookup("second").error(), 0);
}

TEST_F(Service, FetchBringsDataHolesAndChecksums) {
  Client c = NewClient('1');
  ASSERT_TRUE(c.Open().ok());
  const uint64_t ino = c.opened.inodes().first();
  const std::string text(20'000, 'z');
  wire::PutBlockRequest put;
  wire::PutBlockResponse stored;
  put.set_session_id(c.session_id);
  put.set_block_id("BLOCKBLOCKBLOCK1");
  put.set_data(text);
  put.set_length(text.size());
  put.set_xxh3(ContentHash(text) + 1);
  EXPECT_EQ(CodeOf(c.Call(&Stub::PutBlock, put, &stored)), grpc::StatusCode::DATA_LOSS);
  put.set_xxh3(ContentHash(text));
  EXPECT_TRUE(c.Call(&Stub::PutBlock, put, &stored).ok());
  std::string packed(ZSTD_compressBound(text.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 1));
  put.set_data(packed);
  put.set_compression(wire::COMPRESSION_ZSTD);
  EXPECT_TRUE(c.Call(&Stub::PutBlock, put, &stored).ok()) << "the same block, compressed";

  wire::ApplyRequest request;
  wire::ApplyResponse response;
  c.AddFile(&request, "f", ino, "");
  wire::Write* write = c.Add(&request)->mutable_write();
  write->set_inode(ino);
  write->set_size(200'000);
  wire::Extent* extent = write->add_extents();
  extent->set_offset(100'000);
  extent->set_length(text.size());
  extent->mutable_block()->set_block_id(put.block_id());
  ASSERT_TRUE(c.Apply(request, &response).ok());
  ASSERT_EQ(response.results(1).error(), 0);

  wire::FetchRequest fetch;
  wire::FetchResponse fetched;
  fetch.set_session_id(c.session_id);
  fetch.set_inode(ino);
  fetch.add_accept(wire::COMPRESSION_ZSTD);
  for (const uint64_t offset : {0, 100'000, 190'000, 300'000}) {
    wire::Range* range = fetch.add_ranges();
    range->set_offset(offset);
    range->set_length(20'000);
  }
  ASSERT_TRUE(c.Call(&Stub::Fetch, fetch, &fetched).ok());
  EXPECT_EQ(fetched.error(), 0);
  EXPECT_EQ(fetched.content_version(), 2u);
  ASSERT_EQ(fetched.ranges_size(), 4);
  EXPECT_EQ(fetched.ranges(0).length(), 20'000u);
  EXPECT_TRUE(fetched.ranges(0).data().empty());
  EXPECT_EQ(fetched.ranges(1).compression(), wire::COMPRESSION_ZSTD);
  EXPECT_LT(fetched.ranges(1).data().size(), 1000u);
  EXPECT_EQ(fetched.ranges(1).xxh3(), ContentHash(text));
  EXPECT_EQ(fetched.ranges(2).length(), 10'000u);
  EXPECT_EQ(fetched.ranges(3).length(), 0u);
  fetch.clear_accept();
  ASSERT_TRUE(c.Call(&Stub::Fetch, fetch, &fetched).ok());
  EXPECT_EQ(fetched.ranges(1).data(), text);
  fetch.mutable_ranges(0)->set_length(UINT64_MAX);
  EXPECT_EQ(CodeOf(c.Call(&Stub::Fetch, fetch, &fetched)), grpc::StatusCode::INVALID_ARGUMENT);
}

// A block that cannot be read for now (a FIFO without a writer) holds up who reads content, and
// nobody else.
TEST_F(Service, SignsOfLifeAndLocksDoNotWaitForContent) {
  Client c = NewClient('1');
  ASSERT_TRUE(c.Open().ok());
  const uint64_t ino = c.opened.inodes().first();
  wire::ApplyRequest request;
  wire::ApplyResponse response;
  c.AddFile(&request, "f", ino, "hello");
  ASSERT_TRUE(c.Apply(request, &response).ok());
  std::string block;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_.path())) {
    if (entry.is_regular_file() && entry.path().filename().string().size() == 32) {
      block = entry.path().string();
    }
  }
  ASSERT_NE(block, "");
  ASSERT_EQ(unlink(block.c_str()), 0);
  ASSERT_EQ(mkfifo(block.c_str(), 0600), 0);
  std::vector<std::future<void>> readers;
  for (int i = 0; i < 40; ++i) {
    readers.push_back(std::async(std::launch::async, [&] {
      wire::FetchRequest fetch;
      wire::FetchResponse fetched;
      fetch.set_session_id(c.session_id);
      fetch.set_inode(ino);
      fetch.add_ranges()->set_length(5);
      auto context = c.Context();
      (void)c.storage->Fetch(context.get(), fetch, &fetched);
    }));
  }
  EXPECT_EQ(readers.back().wait_for(std::chrono::milliseconds(300)), std::future_status::timeout);
  const SteadyTime begun = SteadyNow();
  for (int i = 0; i < 2; ++i) {  // of each gateway
    wire::KeepAliveRequest alive;
    wire::KeepAliveResponse answer;
    alive.set_session_id(c.session_id);
    EXPECT_TRUE(c.Call(&Stub::KeepAlive, alive, &answer).ok());
    wire::StatFsRequest ask;
    wire::StatFsResponse told;
    ask.set_session_id(c.session_id);
    EXPECT_TRUE(c.Call(&Stub::StatFs, ask, &told).ok());
    wire::AssertLocksRequest held;
    wire::AssertLocksResponse lost;
    held.set_session_id(c.session_id);
    EXPECT_TRUE(c.Call(&Stub::AssertLocks, held, &lost).ok());
  }
  EXPECT_LT(SteadyNow() - begun, std::chrono::seconds(5));
  const UniqueFd writer(open(block.c_str(), O_RDWR | O_CLOEXEC));
  for (auto& reader : readers) reader.get();
}

TEST_F(Service, LocksConflictBetweenSessionsAndGoWithThem) {
  Client one = NewClient('1');
  Client two = NewClient('2', "bob");
  ASSERT_TRUE(one.Open().ok());
  ASSERT_TRUE(two.Open().ok());
  wire::LockRequest request;
  wire::LockResponse response;
  request.set_inode(1);
  request.set_flock(true);
  request.set_type(wire::LOCK_TYPE_EXCLUSIVE);
  request.set_owner("x");
  request.set_pid(42);
  request.set_session_id(one.session_id);
  ASSERT_TRUE(one.Call(&Stub::Lock, request, &response).ok());
  EXPECT_TRUE(response.assert_first()) << "it may have locks of before";
  for (Client* client : {&one, &two}) {
    wire::AssertLocksRequest nothing;
    wire::AssertLocksResponse asserted;
    nothing.set_session_id(client->session_id);
    ASSERT_TRUE(client->Call(&Stub::AssertLocks, nothing, &asserted).ok());
  }
  response.Clear();
  ASSERT_TRUE(one.Call(&Stub::Lock, request, &response).ok());
  EXPECT_EQ(response.error(), 0);
  EXPECT_FALSE(response.assert_first());
  request.set_session_id(two.session_id);
  ASSERT_TRUE(two.Call(&Stub::Lock, request, &response).ok());
  EXPECT_EQ(response.error(), EAGAIN);
  EXPECT_EQ(response.conflict().pid(), 0u) << "a number of another host says nothing";
  wire::CloseSessionRequest close;
  wire::CloseSessionResponse closed;
  close.set_session_id(one.session_id);
  ASSERT_TRUE(one.Call(&Stub::CloseSession, close, &closed).ok());
  EXPECT_EQ(CodeOf(one.Call(&Stub::CloseSession, close, &closed)),
            grpc::StatusCode::FAILED_PRECONDITION);
  response.Clear();
  ASSERT_TRUE(two.Call(&Stub::Lock, request, &response).ok());
  EXPECT_EQ(response.error(), 0);
}

TEST_F(Service, DeletingAWorkspaceEndsItsSessionsAndItsTokensSayThatItIsGone) {
  Client c = NewClient('1');
  ASSERT_TRUE(c.Open().ok());
  wire::DeleteWorkspaceRequest request;
  wire::DeleteWorkspaceResponse response;
  request.set_name(workspace_id_);
  ASSERT_TRUE(Admin().Call(&AdminStub::DeleteWorkspace, request, &response).ok());
  EXPECT_EQ(CodeOf(c.Open()), grpc::StatusCode::NOT_FOUND);
  wire::ListTokensResponse tokens;
  ASSERT_TRUE(Admin().Call(&AdminStub::ListTokens, wire::ListTokensRequest(), &tokens).ok());
  for (const auto& token : tokens.tokens()) EXPECT_FALSE(token.workspace().empty());
  const auto gone = Admin().Call(&AdminStub::DeleteWorkspace, request, &response);
  EXPECT_EQ(CodeOf(gone), grpc::StatusCode::NOT_FOUND);
  EXPECT_NE(gone.error_message().find("'" + workspace_id_ + "'"), std::string::npos)
      << gone.error_message();
}

TEST_F(Service, HostileRequestsAreRefusedWithoutHarm) {
  Client c = NewClient('1');
  ASSERT_TRUE(c.Open().ok());
  wire::ApplyRequest request;
  wire::ApplyResponse response;
  c.Add(&request);  // no operation
  wire::Write* write = c.Add(&request)->mutable_write();
  write->set_inode(1);
  write->add_extents()->set_length(UINT64_MAX);
  wire::Extent* extent = c.Add(&request)->mutable_write()->add_extents();
  extent->set_length(5);
  extent->mutable_block()->set_block_id("short");
  c.Add(&request)->mutable_rename()->set_old_name("../x");
  c.Add(&request)->mutable_setxattr();
  ASSERT_TRUE(c.Apply(request, &response).ok());
  ASSERT_EQ(response.results_size(), 5);
  for (const auto& result : response.results()) EXPECT_EQ(result.error(), EINVAL);
  wire::ResolveRequest resolve;
  wire::ResolveResponse resolved;
  resolve.set_session_id(c.session_id);
  resolve.add_items();
  resolve.add_items()->mutable_lookup()->set_name("a/b");
  resolve.add_items()->mutable_getattr()->set_inode(UINT64_MAX);
  ASSERT_TRUE(c.Call(&Stub::Resolve, resolve, &resolved).ok());
  EXPECT_EQ(resolved.results(0).error(), EINVAL);
  EXPECT_EQ(resolved.results(1).error(), EINVAL);
  EXPECT_EQ(resolved.results(2).error(), ENOENT);
}

TEST_F(Service, ASecondGatewayOnTheSameDataIsRefused) {
  GatewayOptions options;
  options.data_dir = directory_.path() + "/data";
  const auto second = Gateway::Open(options);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, EBUSY);
}

TEST_F(Service, AnswersHealthChecks) {
  grpc::GenericStub stub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const grpc::Slice whole_server("");  // HealthCheckRequest{}
  const auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check",
                                          grpc::ByteBuffer(&whole_server, 1), &queue);
  call->StartCall();
  grpc::ByteBuffer answer;
  grpc::Status status;
  call->Finish(&answer, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  ASSERT_TRUE(status.ok()) << status.error_message();
  grpc::Slice slice;
  ASSERT_TRUE(answer.DumpToSingleSlice(&slice).ok());
  // HealthCheckResponse{status: SERVING}
  EXPECT_EQ(std::string(slice.begin(), slice.end()), std::string("\x08\x01"));
}

TEST_F(Service, ListensWithTls) {
  const std::string cert = directory_.path() + "/cert.pem";
  const std::string key = directory_.path() + "/key.pem";
  MakeCertificate(cert, key);
  ServerOptions options;
  options.listen = "127.0.0.1:0";
  options.tls_cert = cert;
  EXPECT_EQ(Server::Start(*gateway_, options).error().code, EINVAL) << "a certificate without key";
  options.tls_key = key;
  auto server = Server::Start(*gateway_, options);
  ASSERT_TRUE(server) << server.error().ToString();
  grpc::SslCredentialsOptions ssl;
  std::stringstream pem;
  pem << std::ifstream(cert).rdbuf();
  ssl.pem_root_certs = pem.str();
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride("localhost");
  auto stub = wire::Admin::NewStub(grpc::CreateCustomChannel(
      "127.0.0.1:" + std::to_string((*server)->port()), grpc::SslCredentials(ssl), arguments));
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer " + admin_secret_);
  wire::ListWorkspacesResponse listed;
  const auto status = stub->ListWorkspaces(&context, wire::ListWorkspacesRequest(), &listed);
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(Service, SaysWhyItDoesNotListen) {
  ServerOptions options;
  const auto error = [&](const std::string& listen) {
    options.listen = listen;
    auto server = Server::Start(*gateway_, options);
    return server ? Error{0, "it listens"} : server.error();
  };
  for (const char* nonsense : {"nonsense", "host:", "host:port", "1:2:3", "127.0.0.1:70707"}) {
    const Error wrong = error(nonsense);
    EXPECT_EQ(wrong.code, EINVAL) << nonsense;
    EXPECT_NE(wrong.message.find("expected host:port"), std::string::npos) << wrong.message;
  }
  EXPECT_EQ(error("0.0.0.0:0").code, EINVAL) << "plain text";
  EXPECT_EQ(error("unix:/none/there").code, ENOENT);
  options.listen = "127.0.0.1:0";
  const auto first = Server::Start(*gateway_, options);
  ASSERT_TRUE(first);
  EXPECT_EQ(error("127.0.0.1:" + std::to_string((*first)->port())).code, EADDRINUSE);
  options.tls_cert = options.tls_key = directory_.path() + "/empty.pem";
  std::ofstream{options.tls_cert};
  EXPECT_EQ(error("127.0.0.1:0").message, options.tls_cert + " is empty");
  std::ofstream(options.tls_cert) << "no certificate";
  EXPECT_EQ(error("127.0.0.1:0").code, EKEYREJECTED);
}

TEST(ServerOptions, PlainTextStaysLocal) {
  for (const char* local : {"127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/x"}) {
    EXPECT_TRUE(IsLocalAddress(local)) << local;
  }
  for (const char* remote :
       {"0.0.0.0:1", "127.example.org:1", "[::]:1", "10.0.0.1:1", "example.org:1"}) {
    EXPECT_FALSE(IsLocalAddress(remote)) << remote;
  }
}

}  // namespace
}  // namespace airstore::gateway
