// SPDX-License-Identifier: Apache-2.0
//
// What the steps of a request cost in shared memory, without a kernel's protocol around them.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <deque>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "shm/counters.h"
#include "shm/lane.h"
#include "shm/meta_table.h"
#include "shm/slab.h"

namespace airstore::shm {
namespace {

constexpr uint64_t kFiles = 100'000;
constexpr uint32_t kTypeFile = 8;

std::string NameOf(uint64_t i) { return "source_file_" + std::to_string(i) + ".cc"; }

std::unique_ptr<MetaWriter> FilledTables() {
  auto writer = std::move(*MetaWriter::Create(SessionId{}, MetaWriter::Capacity{}));
  InodeRecord root{};
  root.inode = kRootInode;
  if (!writer->AddInode(root)) abort();
  for (uint64_t i = 0; i < kFiles; ++i) {
    InodeRecord record{};
    record.inode = 2 + i;
    if (!writer->AddInode(record)) abort();
    if (!writer->AddDentry(kRootInode, NameOf(i), record.inode, kTypeFile)) abort();
  }
  return writer;
}

// Another inode each time, in an order the prefetcher does not know.
uint64_t Next(uint64_t* state) {
  *state = *state * 6364136223846793005ull + 1442695040888963407ull;
  return (*state >> 33) % kFiles;
}

void FindInode(benchmark::State& state) {
  const auto writer = FilledTables();
  const auto files = static_cast<uint64_t>(state.range(0));
  uint64_t random = 1;
  InodeRef found;
  for (auto _ : state) {
    if (!writer->reader().FindInode(2 + Next(&random) % files, &found)) abort();
    benchmark::DoNotOptimize(found);
  }
}
BENCHMARK(FindInode)->Arg(100)->Arg(kFiles);

void FindDentry(benchmark::State& state) {
  const auto writer = FilledTables();
  const auto files = static_cast<uint64_t>(state.range(0));
  std::vector<std::string> names;
  for (uint64_t i = 0; i < files; ++i) names.push_back(NameOf(i));
  uint64_t random = 1;
  DentryRef found;
  for (auto _ : state) {
    if (!writer->reader().FindDentry(kRootInode, names[Next(&random) % files], &found)) abort();
    benchmark::DoNotOptimize(found);
  }
}
BENCHMARK(FindDentry)->Arg(100)->Arg(kFiles);

void UpdateInode(benchmark::State& state) {
  const auto writer = FilledTables();
  const uint32_t index = writer->IndexOf(kRootInode + 5);
  InodeRecord record = writer->Inode(index);
  for (auto _ : state) {
    ++record.size;
    writer->UpdateInode(index, record);
  }
}
BENCHMARK(UpdateInode);

// Both sides of a lane, and a broker's thread that answers calls and applies writes.
class Lane {
 public:
  Lane() {
    std::string pattern = std::filesystem::temp_directory_path() / "airstore-micro-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) abort();
    consumer_ = std::move(
        *LaneConsumer::Create(SessionId{}, 0, 1024, pattern + "/lane", pattern + "/arena"));
    std::filesystem::remove_all(pattern);  // they live on in their mappings
    producer_ =
        std::move(*LaneProducer::Attach(std::move(*consumer_->lane().Alias()),
                                        std::move(*consumer_->arena().Alias()), wake_.get()));
    broker_ = std::thread([this] { Serve(); });
  }
  ~Lane() {
    stop_.store(true);
    WakeUp();
    broker_.join();
  }
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  LaneProducer& producer() { return *producer_; }
  LaneConsumer& consumer() { return *consumer_; }

 private:
  void WakeUp() {
    const uint64_t one = 1;
    if (write(wake_.get(), &one, sizeof(one)) < 0) abort();
  }

  void Serve() {
    LaneConsumer::Item item;
    std::string why;
    while (!stop_.load(std::memory_order_relaxed)) {
      for (int n = 0; n < 64 && consumer_->Pop(&item, &why) == LaneConsumer::Next::kItem; ++n) {
        if (item.op == QueueOp::kCall) consumer_->Reply(item.call.slot, RequestReply{});
      }
      consumer_->MarkApplied();
      if (!consumer_->PrepareSleep()) continue;
      pollfd waits{wake_.get(), POLLIN, 0};
      poll(&waits, 1, -1);
      uint64_t count;
      [[maybe_unused]] const ssize_t got = read(wake_.get(), &count, sizeof(count));
      consumer_->Awake();
    }
  }

  UniqueFd wake_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::unique_ptr<LaneConsumer> consumer_;
  std::unique_ptr<LaneProducer> producer_;
  std::atomic<bool> stop_{false};
  std::thread broker_;
};

void CallRoundTrip(benchmark::State& state) {
  Lane lane;
  RequestArgs args{};
  args.op = static_cast<uint32_t>(Op::kLookup);
  args.inode = kRootInode;
  for (auto _ : state) {
    benchmark::DoNotOptimize(lane.producer().CallBroker(args, "some_name.cc", "", {}));
  }
}
BENCHMARK(CallRoundTrip)->UseRealTime();

void QueueWrite(benchmark::State& state) {
  Lane lane;
  const std::vector<uint8_t> bytes(static_cast<size_t>(state.range(0)), 7);
  for (auto _ : state) lane.producer().QueueWrite(5, 0, bytes, 0);
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * state.range(0));
}
BENCHMARK(QueueWrite)->Arg(4096)->Arg(128 << 10)->UseRealTime();

void QueueWriteAndWait(benchmark::State& state) {
  Lane lane;
  const std::vector<uint8_t> bytes(4096, 7);
  for (auto _ : state) {
    lane.producer().QueueWrite(5, 0, bytes, 0);
    lane.producer().WaitWrites(5);
  }
}
BENCHMARK(QueueWriteAndWait)->UseRealTime();

void CountAndObserve(benchmark::State& state) {
  Lane lane;
  for (auto _ : state) {
    lane.producer().Count(kRequests);
    lane.producer().Observe(kLatencyRead, 1234);
  }
}
BENCHMARK(CountAndObserve);

void SlabStore(benchmark::State& state) {
  SlabPool pool(SessionId{}, 32u << 20, nullptr, nullptr);
  const std::vector<uint8_t> bytes(static_cast<size_t>(state.range(0)), 7);
  std::vector<Extent> kept;
  for (auto _ : state) {
    auto extent = pool.Store(bytes);
    if (!extent) {
      // As eviction would.
      for (const Extent& old_one : kept) pool.Free(old_one);
      kept.clear();
      extent = pool.Store(bytes);
    }
    kept.push_back(*extent);
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * state.range(0));
}
BENCHMARK(SlabStore)->Arg(1000)->Arg(4096)->Arg(64 << 10);

// At the limit, with that many mounts, whose frontends have four threads each.
void SlabEviction(benchmark::State& state) {
  std::vector<std::unique_ptr<Lane>> lanes;
  for (int64_t i = 0; i < state.range(0); ++i) {
    lanes.push_back(std::make_unique<Lane>());
    for (uint32_t slot = 0; slot < 4; ++slot) lanes.back()->producer().Hazard(slot);
  }
  const auto hazards = [&](std::vector<uint64_t>* keys) {
    for (const auto& lane : lanes) lane->consumer().AddHazards(keys);
  };
  SlabPool pool(SessionId{}, 32u << 20, hazards, nullptr);
  const std::vector<uint8_t> bytes(4096, 7);
  std::deque<Extent> kept;
  for (auto _ : state) {
    auto extent = pool.Store(bytes);
    if (!extent) {
      for (size_t i = kept.size() / 8; i > 0; --i) {
        pool.Free(kept.front());
        kept.pop_front();
      }
      extent = pool.Store(bytes);
    }
    kept.push_back(*extent);
  }
}
BENCHMARK(SlabEviction)->Arg(1)->Arg(64);

void SlabViewBytes(benchmark::State& state) {
  SlabPool pool(SessionId{}, 1u << 20, nullptr, nullptr);
  const std::vector<uint8_t> bytes(4096, 7);
  const Extent extent = *pool.Store(bytes);
  SlabView view{SessionId{}};
  if (!view.Attach(std::move(*pool.segments()[0]->OpenReadOnly()), 0)) abort();
  for (auto _ : state) benchmark::DoNotOptimize(view.Bytes(extent));
}
BENCHMARK(SlabViewBytes);

}  // namespace
}  // namespace airstore::shm

BENCHMARK_MAIN();
