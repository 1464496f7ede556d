// SPDX-License-Identifier: Apache-2.0
#include "broker/grpc_gateway.h"

#include <gtest/gtest.h>
#include <xxhash.h>

#include <future>
#include <thread>

#include "tests/unit/broker/fake_storage.h"
#include "tests/unit/broker/run_task.h"

namespace airstore::broker {
namespace {

namespace wire = storage::v2;

class GrpcGatewayTest : public testing::Test {
 protected:
  std::shared_ptr<Gateway> Connect(const std::string& address, const std::string& token = "secret",
                                   std::chrono::milliseconds timeout = std::chrono::seconds(60)) {
    auto channel = pool_.Get(address);
    EXPECT_TRUE(channel.value) << channel.failure.message;
    return MakeGrpcGateway(loop_.get_executor(), *channel.value, token, {timeout});
  }
  void Answer() {
    server_.storage.open = [](const wire::OpenSessionRequest& request,
                              wire::OpenSessionResponse* response) {
      response->set_workspace_id("id-of-" + request.workspace());
      response->mutable_root()->set_inode(1);
      response->mutable_root()->set_mode(S_IFDIR | 0755);
      response->mutable_inodes()->set_first(2);
      response->mutable_inodes()->set_count(10);
      return grpc::Status::OK;
    };
  }

  // The order matters: the pool waits for gRPC before the loop goes.
  boost::asio::io_context loop_{1};
  GatewayChannelPool pool_{GatewayTls{}};
  fake::Server server_;
};

TEST_F(GrpcGatewayTest, OpensASessionWithTheToken) {
  Answer();
  const auto gateway = Connect(server_.address());
  const auto session = RunTask(loop_, gateway->Open("demo", {1, 2, 3}, true));
  ASSERT_TRUE(session) << session.error().ToString();
  EXPECT_EQ(session->workspace_id, "id-of-demo");
  EXPECT_EQ(session->first_inode, 2u);
  EXPECT_EQ(server_.storage.authorization(), "Bearer secret");
  EXPECT_EQ(gateway->state(), "connected");
  EXPECT_EQ(gateway->counters().calls, 1u);
}

TEST_F(GrpcGatewayTest, ResumesOnTheLoopOnly) {
  server_.storage.keep_alive = [](const auto&, auto*) { return grpc::Status::OK; };
  const auto gateway = Connect(server_.address());
  const auto here = std::this_thread::get_id();
  const auto check = [](std::shared_ptr<Gateway> via, std::thread::id loop) -> Task<bool> {
    bool same = true;
    for (int i = 0; i < 50; ++i) {
      const auto alive = co_await via->KeepAlive();
      same = same && alive.has_value() && std::this_thread::get_id() == loop;
    }
    co_return same;
  };
  EXPECT_TRUE(RunTask(loop_, check(gateway, here)));
}

struct StatusCase {
  grpc::StatusCode status;
  int code;
  FailureKind kind;
};
class GrpcStatusTest : public GrpcGatewayTest, public testing::WithParamInterface<StatusCase> {};

TEST_P(GrpcStatusTest, BecomesAnErrnoAndAFailure) {
  server_.storage.open = [](const auto&, auto*) {
    return grpc::Status(GetParam().status, "because\x1b[31m");
  };
  const auto gateway = Connect(server_.address());
  const auto session = RunTask(loop_, gateway->Open("demo", {}, true));
  ASSERT_FALSE(session);
  EXPECT_EQ(session.error().code, GetParam().code);
  EXPECT_EQ(session.error().message.find('\x1b'), std::string::npos) << "for terminals";
  const Failure failure = OpenFailure(session.error(), server_.address(), "demo");
  EXPECT_EQ(failure.kind, GetParam().kind) << failure.message;
  EXPECT_FALSE(failure.message.empty());
  EXPECT_FALSE(failure.advice.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Each, GrpcStatusTest,
    testing::Values(
        StatusCase{grpc::StatusCode::UNAVAILABLE, EAGAIN, FailureKind::kUnreachable},
        StatusCase{grpc::StatusCode::DEADLINE_EXCEEDED, EAGAIN, FailureKind::kUnreachable},
        StatusCase{grpc::StatusCode::RESOURCE_EXHAUSTED, EAGAIN, FailureKind::kUnreachable},
        StatusCase{grpc::StatusCode::ABORTED, EAGAIN, FailureKind::kUnreachable},
        StatusCase{grpc::StatusCode::CANCELLED, EAGAIN, FailureKind::kUnreachable},
        StatusCase{grpc::StatusCode::UNAUTHENTICATED, EACCES, FailureKind::kPermission},
        StatusCase{grpc::StatusCode::PERMISSION_DENIED, EACCES, FailureKind::kPermission},
        StatusCase{grpc::StatusCode::NOT_FOUND, ENOENT, FailureKind::kNotFound},
        StatusCase{grpc::StatusCode::FAILED_PRECONDITION, ESTALE, FailureKind::kInternal},
        StatusCase{grpc::StatusCode::UNIMPLEMENTED, ENOSYS, FailureKind::kInternal},
        StatusCase{grpc::StatusCode::INVALID_ARGUMENT, EIO, FailureKind::kInternal},
        StatusCase{grpc::StatusCode::INTERNAL, EIO, FailureKind::kInternal},
        StatusCase{grpc::StatusCode::UNKNOWN, EIO, FailureKind::kInternal},
        StatusCase{grpc::StatusCode::DATA_LOSS, EIO, FailureKind::kInternal}));

TEST_F(GrpcGatewayTest, NobodyThereIsEagain) {
  server_.server->Shutdown(std::chrono::system_clock::now());
  const auto gateway = Connect(server_.address());
  const auto session = RunTask(loop_, gateway->Open("demo", {}, true));
  ASSERT_FALSE(session);
  EXPECT_EQ(session.error().code, EAGAIN);
  EXPECT_EQ(gateway->state(), "unreachable");
  const Failure failure = OpenFailure(session.error(), server_.address(), "demo");
  EXPECT_EQ(failure.kind, FailureKind::kUnreachable);
  EXPECT_NE(failure.message.find(server_.address()), std::string::npos);
}

// It takes connections and calls, and cannot do what they ask; the other one can.
TEST_F(GrpcGatewayTest, AGatewayThatHasLostItsStoreIsLeft) {
  fake::Server other;
  std::atomic<fake::Server*> lost{nullptr};
  for (fake::Server* server : {&server_, &other}) {
    server->storage.keep_alive = [&lost, server](const auto&, auto*) {
      fake::Server* nobody = nullptr;
      lost.compare_exchange_strong(nobody, server);  // whichever was asked first
      return lost == server
                 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "the gateway's store failed")
                 : grpc::Status::OK;
    };
  }
  const auto gateway = Connect(server_.address() + "," + other.address());
  int failed = 0;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!RunTask(loop_, gateway->KeepAlive()) && std::chrono::steady_clock::now() < deadline) {
    ++failed;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_TRUE(RunTask(loop_, gateway->KeepAlive()));
  EXPECT_GT(failed, 1) << "not at the first failure: the others may have no store either";
}

TEST_F(GrpcGatewayTest, GivesUpAtTheDeadline) {
  std::promise<void> release;
  auto released = release.get_future().share();
  server_.storage.keep_alive = [released](const auto&, auto*) {
    released.wait();
    return grpc::Status::OK;
  };
  const auto gateway = Connect(server_.address(), "t", std::chrono::milliseconds(50));
  EXPECT_EQ(RunTask(loop_, gateway->KeepAlive()).error().code, EAGAIN);
  release.set_value();
}

TEST_F(GrpcGatewayTest, ImpossibleTokensAreRefusedHere) {
  for (const char* token : {"", "a b", "a\nb", "\xc3\xa4"}) {
    const auto gateway = Connect(server_.address(), token);
    EXPECT_EQ(RunTask(loop_, gateway->Open("demo", {}, true)).error().code, EACCES) << token;
  }
}

TEST_F(GrpcGatewayTest, ResolvesAndCountsContent) {
  server_.storage.resolve = [](const wire::ResolveRequest& request,
                               wire::ResolveResponse* response) {
    for (const auto& item : request.items()) {
      wire::DirEntry* entry = response->add_results()->mutable_entry();
      entry->mutable_attr()->set_inode(item.getattr().inode());
      entry->mutable_attr()->set_mode(S_IFREG | 0600);
      entry->mutable_attr()->set_size(5);
      entry->set_content_inlined(true);
      entry->set_content("hello");
    }
    return grpc::Status::OK;
  };
  const auto gateway = Connect(server_.address());
  std::vector<ResolveItem> items = {GetattrItem{5, 100}, GetattrItem{6, 100}};
  const auto results = RunTask(loop_, gateway->Resolve(items));
  ASSERT_TRUE(results) << results.error().ToString();
  EXPECT_EQ(results->at(1).entry.attr.inode, 6u);
  EXPECT_EQ(gateway->counters().fetched_bytes, 10u);
}

TEST_F(GrpcGatewayTest, FetchesInParallelWhatIsLarge) {
  const std::string block(4u << 20, 'x');
  server_.storage.fetch = [&block](const wire::FetchRequest& request,
                                   wire::FetchResponse* response) {
    response->set_content_version(3);
    wire::FetchedRange* range = response->add_ranges();
    range->set_offset(request.ranges(0).offset());
    range->set_length(block.size());
    range->set_data(block);
    range->set_xxh3(XXH3_64bits(block.data(), block.size()));
    return grpc::Status::OK;
  };
  const auto gateway = Connect(server_.address());
  int arrived = 0;
  const auto fetch = [&](uint64_t offset) -> Task<void> {
    const auto fetched = co_await gateway->Fetch(9, offset, block.size());
    if (!fetched || fetched->content_version != 3 || fetched->ranges.size() != 1) co_return;
    if (fetched->ranges[0].data == block) ++arrived;
  };
  for (uint64_t i = 0; i < 8; ++i) Spawn(loop_.get_executor(), fetch(i * block.size()));
  loop_.run();
  EXPECT_EQ(arrived, 8);
  EXPECT_EQ(gateway->counters().fetched_bytes, 8 * block.size());
}

TEST_F(GrpcGatewayTest, PutsBlocksWithChecksum) {
  server_.storage.put_block = [](const wire::PutBlockRequest& request, auto*) {
    const bool good = request.block_id().size() == 16 &&
                      request.length() == request.data().size() &&
                      request.xxh3() == XXH3_64bits(request.data().data(), request.data().size());
    return good ? grpc::Status::OK : grpc::Status(grpc::StatusCode::DATA_LOSS, "wrong");
  };
  const auto gateway = Connect(server_.address());
  EXPECT_TRUE(RunTask(loop_, gateway->PutBlock(BlockId{{7}}, "data")));
  EXPECT_EQ(gateway->counters().uploaded_bytes, 4u);
}

TEST_F(GrpcGatewayTest, AppliesEveryKindOfMutation) {
  wire::ApplyRequest seen;
  server_.storage.apply = [&seen](const wire::ApplyRequest& request,
                                  wire::ApplyResponse* response) {
    seen = request;
    for (const auto& mutation : request.mutations()) {
      response->add_results()->set_sequence(mutation.sequence());
    }
    return grpc::Status::OK;
  };
  auto batch = std::make_shared<std::vector<Mutation>>();
  WriteOp write{4, {}, 9, std::nullopt};
  write.extents.push_back({0, 3, std::string("abc")});
  write.extents.push_back({3, 4, std::pair(BlockId{{9}}, uint64_t{17})});
  write.extents.push_back({7, 2, std::monostate()});
  SetattrOp setattr;
  setattr.inode = 4;
  setattr.size = 0;
  batch->push_back({1, 5, 0, 0, CreateOp{1, "n", 4, S_IFREG | 0644, 1, 2, 0, ""}});
  batch->push_back({2, 6, 4, 77, write});
  batch->push_back({3, 0, 0, 0, LinkOp{4, 1, "l"}});
  batch->push_back({4, 0, 0, 0, RenameOp{1, "a", 2, "b", 1}});
  batch->push_back({5, 0, 0, 0, UnlinkOp{1, "l", true, 4}});
  batch->push_back({6, 0, 0, 0, setattr});
  batch->push_back({7, 0, 0, 0, TouchOp{1}});
  const auto gateway = Connect(server_.address());
  const auto results = RunTask(loop_, gateway->Apply(batch, {12, 15}));
  ASSERT_TRUE(results) << results.error().ToString();
  EXPECT_EQ(seen.lease_id(), 12u);
  ASSERT_EQ(seen.more_lease_ids_size(), 1);
  EXPECT_EQ(seen.more_lease_ids(0), 15u);
  ASSERT_EQ(seen.mutations_size(), 7);
  EXPECT_EQ(seen.mutations(0).create().name(), "n");
  EXPECT_EQ(seen.mutations(1).if_content_version(), 77u);
  const wire::Write& sent = seen.mutations(1).write();
  EXPECT_EQ(sent.extents(0).data(), "abc");
  EXPECT_EQ(sent.extents(1).block().block_id().size(), 16u);
  EXPECT_EQ(sent.extents(1).block().offset(), 17u);
  EXPECT_TRUE(sent.extents(2).hole());
  EXPECT_EQ(sent.size(), 9u);
  EXPECT_FALSE(sent.has_mtime_ns());
  EXPECT_EQ(seen.mutations(2).link().name(), "l");
  EXPECT_EQ(seen.mutations(3).rename().flags(), 1u);
  EXPECT_TRUE(seen.mutations(4).unlink().directory());
  EXPECT_TRUE(seen.mutations(5).setattr().has_size());
  EXPECT_FALSE(seen.mutations(5).setattr().has_mode());
  EXPECT_EQ(seen.mutations(6).touch().inode(), 1u);
  EXPECT_EQ(gateway->counters().uploaded_bytes, 3u);
}

// More than the stream keeps for the loop, so that reading pauses and goes on.
TEST_F(GrpcGatewayTest, WatchBringsEventsInOrderUntilItEnds) {
  constexpr uint64_t kEvents = 1000;
  server_.storage.watch = [](const wire::WatchRequest& request,
                             grpc::ServerWriter<wire::WatchEvent>* writer) {
    for (uint64_t i = 1; i <= kEvents; ++i) {
      wire::WatchEvent event;
      event.set_cursor(request.cursor() + i);
      event.mutable_changed()->add_inodes(i);
      writer->Write(event);
    }
    return grpc::Status(grpc::StatusCode::ABORTED, "too slow");
  };
  const auto gateway = Connect(server_.address());
  const auto count = [](std::shared_ptr<Gateway> via, int* code) -> Task<uint64_t> {
    const auto stream = via->Watch(100);
    uint64_t seen = 0;
    for (;;) {
      const auto event = co_await stream->Next();
      if (!event) {
        *code = event.error().code;
        co_return seen;
      }
      if (event->cursor != 100 + ++seen || event->inodes != std::vector<uint64_t>{seen})
        co_return 0;
    }
  };
  int code = 0;
  EXPECT_EQ(RunTask(loop_, count(gateway, &code)), kEvents);
  EXPECT_EQ(code, EAGAIN);
}

TEST_F(GrpcGatewayTest, ShutdownAndCancelEndWatches) {
  server_.storage.watch = [](const auto&, grpc::ServerWriter<wire::WatchEvent>* writer) {
    wire::WatchEvent event;
    event.set_cursor(1);
    while (writer->Write(event)) {
    }
    return grpc::Status::OK;
  };
  const auto gateway = Connect(server_.address());
  const auto follow = [](WatchStream* stream) -> Task<int> {
    for (;;) {
      const auto event = co_await stream->Next();
      if (!event) co_return event.error().code;
    }
  };
  auto cancelled = gateway->Watch(0);
  cancelled->Cancel();
  EXPECT_EQ(RunTask(loop_, follow(cancelled.get())), EAGAIN);
  auto dropped = gateway->Watch(0);
  dropped.reset();
  auto shut = gateway->Watch(0);
  std::optional<int> code;
  Spawn(loop_.get_executor(), Store(follow(shut.get()), &code));
  loop_.restart();
  loop_.run_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(code);
  std::thread end([this] { pool_.Shutdown(); });
  loop_.restart();
  while (!code) loop_.run_one();
  end.join();
  EXPECT_EQ(*code, EAGAIN);
}

TEST_F(GrpcGatewayTest, ShutdownEndsCallsInFlight) {
  std::promise<void> arrived;
  std::promise<void> release;
  auto released = release.get_future().share();
  server_.storage.keep_alive = [&arrived, released](const auto&, auto*) {
    arrived.set_value();
    released.wait();
    return grpc::Status::OK;
  };
  const auto gateway = Connect(server_.address());
  std::optional<Result<uint64_t>> result;
  Spawn(loop_.get_executor(), Store(gateway->KeepAlive(), &result));
  loop_.poll();
  arrived.get_future().wait();
  pool_.Shutdown();
  loop_.run();
  ASSERT_TRUE(result);
  EXPECT_EQ(result->error().code, EAGAIN);
  // Later calls end at once, too.
  EXPECT_EQ(RunTask(loop_, gateway->KeepAlive()).error().code, EAGAIN);
  EXPECT_FALSE(pool_.Get(server_.address()).value);
  release.set_value();
}

TEST_F(GrpcGatewayTest, ASignOfLifeThatHangsLeavesTimeForAnother) {
  std::promise<void> release;
  auto released = release.get_future().share();
  Answer();
  server_.storage.open = [answer = server_.storage.open](const auto& request, auto* response) {
    response->mutable_limits()->set_session_seconds(6);
    return answer(request, response);
  };
  server_.storage.keep_alive = [released](const auto&, auto*) {
    released.wait();
    return grpc::Status::OK;
  };
  const auto gateway = Connect(server_.address());
  ASSERT_TRUE(RunTask(loop_, gateway->Open("w", {}, false)));
  const auto begun = std::chrono::steady_clock::now();
  const auto alive = RunTask(loop_, gateway->KeepAlive());
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(4));
  ASSERT_FALSE(alive);
  EXPECT_EQ(alive.error().code, EAGAIN) << "it is made again";
  release.set_value();
}

TEST_F(GrpcGatewayTest, LoopMayGoWithCallsInFlight) {
  std::promise<void> arrived;
  std::promise<void> release;
  auto released = release.get_future().share();
  server_.storage.keep_alive = [&arrived, released](const auto&, auto*) {
    arrived.set_value();
    released.wait();
    return grpc::Status::OK;
  };
  {
    boost::asio::io_context loop(1);
    GatewayChannelPool pool{GatewayTls{}};
    const auto gateway =
        MakeGrpcGateway(loop.get_executor(), *pool.Get(server_.address()).value, "t");
    std::optional<Result<uint64_t>> result;
    Spawn(loop.get_executor(), Store(gateway->KeepAlive(), &result));
    loop.poll();
    arrived.get_future().wait();
  }
  release.set_value();
}

TEST(GatewayChannelPool, SharesConnections) {
  GatewayChannelPool pool{GatewayTls{}};
  EXPECT_EQ(*pool.Get("127.0.0.1:1").value, *pool.Get("127.0.0.1:1").value);
  EXPECT_NE(*pool.Get("127.0.0.1:1").value, *pool.Get("127.0.0.1:2").value);
}

TEST(GatewayChannelPool, PlainTextStaysOnThisHost) {
  GatewayChannelPool pool{GatewayTls{}};
  EXPECT_TRUE(pool.Get("example.org:1").value) << "TLS";
  const auto refused = pool.Get("http://example.org:1");
  EXPECT_FALSE(refused.value);
  EXPECT_EQ(refused.failure.kind, FailureKind::kPermission);
  GatewayTls tls;
  tls.insecure = true;
  GatewayChannelPool insecure(tls);
  EXPECT_TRUE(insecure.Get("http://example.org:1").value);
}

TEST(GatewayChannelPool, SaysWhatIsWrong) {
  GatewayTls tls;
  tls.ca_file = "/nonexistent";
  GatewayChannelPool pool(tls);
  EXPECT_EQ(pool.Get("example.org:1").failure.kind, FailureKind::kHost);
  EXPECT_EQ(pool.Get("nonsense").failure.kind, FailureKind::kUsage);
}

}  // namespace
}  // namespace airstore::broker
