// SPDX-License-Identifier: Apache-2.0
//
// Blocks on a real S3 service, directly and through a proxy that misbehaves.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <thread>

#include "tests/e2e/support/stores.h"
#include "tests/unit/gateway/bench.h"
#include "tests/unit/gateway/faulty_proxy.h"
#include "tools/gateway/blocks/s3/s3_block_store.h"
#include "tools/gateway/store_url.h"

namespace airstore::gateway {
namespace {

class S3 : public testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    server = e2e::S3Server::Get(&why);
    if (server == nullptr) GTEST_SKIP() << why;
    options.endpoint = server->endpoint();
    options.bucket = server->bucket();
    options.keys = {server->access_key(), server->secret_key(), ""};
    options.http.stall = std::chrono::seconds(1);
    // Another one for each test: they share the bucket.
    prefix = "t" + ToHex(RandomBlockId().view());
  }
  static std::string ToHex(std::string_view bytes) {
    std::string text;
    for (const char c : bytes) text += "0123456789abcdef"[c & 15];
    return text;
  }
  std::unique_ptr<S3BlockStore> Open() {
    auto store = S3BlockStore::Open(options, prefix);
    EXPECT_TRUE(store) << store.error().ToString();
    return std::move(*store);
  }
  void ThroughProxy() {
    const std::string port = options.endpoint.substr(options.endpoint.rfind(':') + 1);
    proxy = std::make_unique<FaultyProxy>(std::stoi(port));
    options.endpoint = "http://127.0.0.1:" + std::to_string(proxy->port());
  }
  static std::string Data(size_t size) {
    std::string data(size, 'x');
    for (size_t i = 0; i < size; i += 7) data[i] = static_cast<char>(i * 131 >> 3);
    return data;
  }
  static BlockKey Key(char c) { return {7, BlockId::From(std::string(16, c))}; }
  static std::vector<BlockKey> Listed(S3BlockStore& store) {
    std::vector<BlockKey> keys;
    EXPECT_TRUE(store.List(INT64_MAX, [&](const BlockKey& key) { keys.push_back(key); }));
    return keys;
  }

  e2e::S3Server* server = nullptr;
  S3Options options;
  std::string prefix;
  std::unique_ptr<FaultyProxy> proxy;
};

TEST_F(S3, KeepsGivesListsAndDeletesBlocks) {
  auto store = Open();
  const std::string data = Data(kBlockBytes);
  ASSERT_TRUE(store->Put(Key('a'), "head", data));
  EXPECT_EQ(*store->Get(Key('a')), "head" + data);
  ASSERT_TRUE(store->Put(Key('a'), "", "other"));  // replaced as a whole
  EXPECT_EQ(*store->Get(Key('a')), "other");
  ASSERT_TRUE(store->Put(Key('b'), "", ""));
  EXPECT_EQ(*store->Get(Key('b')), "");
  EXPECT_EQ(store->Get(Key('c')).error().code, ENOENT);
  EXPECT_EQ(Listed(*store), (std::vector<BlockKey>{Key('a'), Key('b')}));
  size_t old = 0;
  ASSERT_TRUE(
      store->List(WallClockNs() - int64_t{3600} * 1'000'000'000, [&](const BlockKey&) { ++old; }));
  EXPECT_EQ(old, 0u);
  const BlockKey keys[] = {Key('a'), Key('c')};
  EXPECT_TRUE(store->Delete(keys));  // one of them was never there
  EXPECT_TRUE(store->Delete({keys, 1}));
  EXPECT_EQ(store->Get(Key('a')).error().code, ENOENT);
  EXPECT_EQ(Listed(*store), (std::vector<BlockKey>{Key('b')}));
  EXPECT_EQ(store->client().retries(), 0u);
}

TEST_F(S3, IsForOneMetadataStore) {
  auto store = Open();
  EXPECT_TRUE(store->Claim("one", false));
  EXPECT_TRUE(store->Claim("one", true)) << "its own";
  EXPECT_EQ(store->Claim("two", false).error().code, EEXIST);
  EXPECT_TRUE(Listed(*store).empty());
  prefix += "-old";
  auto old = Open();
  ASSERT_TRUE(old->Put(Key('a'), "head", "data"));
  EXPECT_EQ(old->Claim("one", true).error().code, EEXIST) << "whose blocks they are is not known";
}

TEST_F(S3, AnotherPlaceIsNotTakenForEmpty) {
  auto store = Open();
  const auto claimed = store->Claim("one", true);
  ASSERT_FALSE(claimed);
  EXPECT_EQ(claimed.error().code, ENOENT);
  EXPECT_EQ(store->client().Get(prefix + "/store", 1024).error().code, ENOENT) << "nothing is left";

  const TempDirectory directory;
  const std::string metadata = "sqlite://" + directory.path() + "/one";
  setenv("AWS_ACCESS_KEY_ID", options.keys.access_key.c_str(), 1);
  setenv("AWS_SECRET_ACCESS_KEY", options.keys.secret_key.c_str(), 1);
  const auto at = [&](const std::string& place) {
    return "s3://" + options.bucket + "/" + place + "?endpoint=" + options.endpoint;
  };
  {
    auto stores = OpenStores(metadata, at(prefix));
    ASSERT_TRUE(stores) << stores.error().ToString();
    auto txn = std::move(*stores->metadata->Write());
    Workspace workspace;
    workspace.id = "ws_1";
    workspace.name = "work";
    txn->AddUsage(txn->AddWorkspace(workspace), 4, 1);
    ASSERT_TRUE(txn->Commit());
  }
  ASSERT_TRUE(OpenStores(metadata, at(prefix)));
  const auto wrong = OpenStores(metadata, at(prefix + "-wrong"));
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, ENOENT);
  EXPECT_NE(wrong.error().message.find("is it the right place?"), std::string::npos);
}

TEST_F(S3, ListsAndDeletesMoreThanAPageOverKeptConnections) {
  options.http.connections = 4;
  auto store = Open();
  constexpr size_t kBlocks = 1010;  // a page of a listing, and one deletion, have 1,000
  std::vector<BlockKey> keys(kBlocks);
  for (size_t i = 0; i < kBlocks; ++i) {
    keys[i] = {9, {}};
    std::memcpy(keys[i].id.bytes.data(), &i, sizeof i);
  }
  std::atomic<size_t> next{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (size_t at = next++; at < kBlocks; at = next++) {
        EXPECT_TRUE(store->Put(keys[at], "h", "d"));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(store->client().connections_made(), 4 + store->client().retries());
  EXPECT_EQ(Listed(*store).size(), kBlocks);
  EXPECT_TRUE(store->Delete(keys));
  EXPECT_TRUE(Listed(*store).empty());
}

TEST_F(S3, HostsNamesKeysAndRegions) {
  options.virtual_host = true;  // "airstore.localhost"
  options.endpoint.replace(options.endpoint.find("127.0.0.1"), 9, "localhost");
  options.region = "eu-somewhere-1";
  prefix = "odd +%&=$'()*/~\u00e4 name";
  auto store = Open();
  ASSERT_TRUE(store->Put(Key('a'), "", "data"));
  EXPECT_EQ(*store->Get(Key('a')), "data");
  EXPECT_EQ(Listed(*store), (std::vector<BlockKey>{Key('a')}));
  const BlockKey keys[] = {Key('a'), Key('b')};
  EXPECT_TRUE(store->Delete(keys));
  EXPECT_TRUE(Listed(*store).empty());
}

// Curl's own header would leave out the port that its scheme usually has.
TEST(S3Client, TheHostThatIsSignedIsTheOneThatIsSent) {
  const UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(80);
  address.sin_addr.s_addr = htonl(0x7f505050);  // 127.80.80.80
  if (bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(listener.get(), 1) != 0) {
    GTEST_SKIP() << "port 80 is not to be had";
  }
  auto served = std::async(std::launch::async, [&] {
    const UniqueFd peer(accept(listener.get(), nullptr, nullptr));
    std::string request;
    char buffer[4096];
    while (request.find("\r\n\r\n") == std::string::npos) {
      const ssize_t got = read(peer.get(), buffer, sizeof buffer);
      if (got <= 0) break;
      request.append(buffer, static_cast<size_t>(got));
    }
    const std::string_view answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    EXPECT_EQ(write(peer.get(), answer.data(), answer.size()), static_cast<ssize_t>(answer.size()));
    return request;
  });
  S3Options options;
  options.endpoint = "http://127.80.80.80:80";
  options.bucket = "b";
  options.keys = {"key", "secret", ""};
  S3Client client(std::move(options));
  EXPECT_EQ(client.Get("name", 10).error().code, EACCES);
  const std::string request = served.get();
  EXPECT_NE(request.find("ost: 127.80.80.80:80\r\n"), std::string::npos) << request;
}

TEST_F(S3, SaysWhatIsWrong) {
  S3Options wrong = options;
  wrong.keys.secret_key = "wrong";
  auto store = S3BlockStore::Open(wrong, prefix);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, EACCES);
  EXPECT_NE(store.error().message.find("SignatureDoesNotMatch"), std::string::npos)
      << store.error().message;
  wrong = options;
  wrong.bucket = "not-there";
  store = S3BlockStore::Open(wrong, prefix);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, EIO);
  EXPECT_NE(store.error().message.find("NoSuchBucket"), std::string::npos);
  wrong = options;
  wrong.endpoint = "http://127.0.0.1:1";
  wrong.patience = std::chrono::milliseconds(100);
  store = S3BlockStore::Open(wrong, prefix);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ECONNREFUSED);
}

TEST_F(S3, AClockThatIsWrongIsCorrected) {
  for (const int64_t wrong : {-7200, 7200}) {
    options.unix_seconds = [wrong] { return time(nullptr) + wrong; };
    auto store = Open();
    EXPECT_EQ(store->client().retries(), 1u);  // told once, and known from then on
    ASSERT_TRUE(store->Put(Key('a'), "", "data"));
    EXPECT_EQ(*store->Get(Key('a')), "data");
    EXPECT_EQ(store->client().retries(), 1u);
  }
}

TEST_F(S3, FaultsThatPassAreNotSeen) {
  ThroughProxy();
  auto store = Open();
  const std::string data = Data(300'000);
  uint64_t retries = 0;
  int hit = 0;
  char name = 'a';
  for (const Fault fault : {Fault::kSlowDown, Fault::kServerError, Fault::kReset, Fault::kSilence,
                            Fault::kDrip, Fault::kCut}) {
    SCOPED_TRACE(static_cast<int>(fault));
    const BlockKey key = Key(name++);
    const bool of_answer = fault == Fault::kDrip || fault == Fault::kCut;
    const int times = of_answer ? 0 : fault == Fault::kSilence ? 1 : 2;
    proxy->Add(fault, times);
    ASSERT_TRUE(store->Put(key, "head", data));
    EXPECT_EQ(proxy->hit(), hit += times);
    EXPECT_EQ(store->client().retries(), retries += static_cast<uint64_t>(times));
    proxy->Add(fault);
    auto got = store->Get(key);
    ASSERT_TRUE(got) << got.error().ToString();
    EXPECT_EQ(*got, "head" + data);
    EXPECT_EQ(proxy->hit(), ++hit);
    EXPECT_EQ(store->client().retries(), ++retries);
    proxy->Add(fault);
    const BlockKey keys[] = {key, Key('z')};
    EXPECT_TRUE(store->Delete(keys));
    hit = proxy->hit();
    retries = store->client().retries();
    EXPECT_EQ(store->Get(key).error().code, ENOENT);
  }
}

TEST_F(S3, ADamagedAnswerIsAskedForAgain) {
  ThroughProxy();
  auto store = Open();
  Blocks blocks(*store, 1 << 20);
  const std::string data = Data(100'000);
  ASSERT_TRUE(blocks.Put(Key('a'), data, ContentHash(data)));
  proxy->Add(Fault::kDamage);
  const auto got = blocks.Get(Key('a'));
  ASSERT_TRUE(got) << got.error().ToString();
  EXPECT_EQ((*got)->substr(Blocks::kHeaderBytes), data);
  EXPECT_EQ(proxy->hit(), 1);
  // Damage that stays is no content.
  ASSERT_TRUE(store->Put(Key('b'), "head", "not a block"));
  EXPECT_EQ(blocks.Get(Key('b')).error().code, EBADMSG);
}

TEST_F(S3, AnOutageIsAnErrorThatSaysSoAndPasses) {
  ThroughProxy();
  options.patience = std::chrono::milliseconds(300);
  auto store = Open();
  proxy->Add(Fault::kServerError, 100);
  const auto failed = store->Put(Key('a'), "head", "data");
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, EIO);
  EXPECT_NE(failed.error().message.find("500"), std::string::npos) << failed.error().message;
  while (!store->Put(Key('a'), "head", "data")) {
  }
  EXPECT_EQ(*store->Get(Key('a')), "headdata");
  EXPECT_EQ(proxy->hit(), 100);
}

TEST_F(S3, AnOutageIsNoDamageOfFiles) {
  ThroughProxy();
  options.patience = std::chrono::milliseconds(300);
  auto store = Open();
  Blocks blocks(*store, 1 << 20);
  Bench b;
  const InodeNo file = b.MakeFile(kRootInode, "f");
  const BlockId id = RandomBlockId();
  ASSERT_TRUE(blocks.Put({b.ws, id}, "data", ContentHash("data")));
  {
    auto txn = b.store->Write();
    (*txn)->PutBlock(b.ws, {id, 4, ContentHash("data"), 0, WallClockNs(), false});
    ASSERT_TRUE((*txn)->Commit());
  }
  ASSERT_EQ(b.Error(WriteOp{file, {{0, 4, BlockSource{id, 0}}}, {}, {}}), 0);
  const auto fetch = [&] { return FetchContent(*b.store, blocks, b.ws, file, {{0, 4}}); };
  proxy->Add(Fault::kServerError, 100);
  EXPECT_FALSE(fetch()) << "whoever reads is to ask again";
  EXPECT_GT(proxy->hit(), 0);
  // Who answers with such a page knows nothing of blocks.
  proxy->Clear();
  proxy->Add(Fault::kNoSuchPage);
  const auto lost = store->Get({b.ws, id});
  ASSERT_FALSE(lost);
  EXPECT_NE(lost.error().code, ENOENT) << lost.error().ToString();
  const auto fetched = fetch();
  ASSERT_TRUE(fetched) << fetched.error().ToString();
  ASSERT_EQ(fetched->pieces.size(), 1u);
  EXPECT_EQ(fetched->pieces[0].data, "data");
  // What the service itself says is not there is lost.
  const BlockKey gone{b.ws, id};
  ASSERT_TRUE(store->Delete({&gone, 1}));
  Blocks cold(*store, 1 << 20);
  const auto missing = FetchContent(*b.store, cold, b.ws, file, {{0, 4}});
  ASSERT_TRUE(missing);
  EXPECT_EQ(missing->error, EIO);
}

}  // namespace
}  // namespace airstore::gateway
