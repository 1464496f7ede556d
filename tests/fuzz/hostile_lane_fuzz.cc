// SPDX-License-Identifier: Apache-2.0
//
// A frontend that does anything to its lane, between any two steps of the broker. The input is a
// list of commands; what the broker gets out of the lane must obey its rules whatever they were.
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "shm/lane.h"
#include "shm/request_rules.h"

namespace {

using namespace airstore;       // NOLINT: a program of its own
using namespace airstore::shm;  // NOLINT

constexpr uint32_t kUses = 64;

#define REQUIRE(condition)                         \
  do {                                             \
    if (!(condition)) {                            \
      fprintf(stderr, "broken: %s\n", #condition); \
      abort();                                     \
    }                                              \
  } while (0)

// What is left of the input; zeros behind its end.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  bool empty() const { return size_ == 0; }

  template <typename T>
  T Take() {
    T value{};
    const size_t bytes = std::min(sizeof(T), size_);
    memcpy(&value, data_, bytes);
    data_ += bytes;
    size_ -= bytes;
    return value;
  }

  // Mostly small or near a border, where mistakes are.
  uint64_t Number(uint64_t border) {
    switch (Take<uint8_t>() % 6) {
      case 0:
        return Take<uint8_t>();
      case 1:
        return border + Take<uint8_t>();
      case 2:
        return border - Take<uint8_t>();
      case 3:
        return ~0ull - Take<uint8_t>();
      case 4:
        return Take<uint32_t>();
      default:
        return Take<uint64_t>();
    }
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

class HostileLane {
 public:
  HostileLane() {
    std::string pattern = (std::filesystem::temp_directory_path() / "airstore-fuzz-XXXXXX");
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    auto made = LaneConsumer::Create(SessionId{}, 0, kUses, pattern + "/lane", pattern + "/arena");
    REQUIRE(made.has_value());
    // The files live on in their mappings.
    std::filesystem::remove_all(pattern);
    first_ = std::move(*made);
  }

  void Run(Input input) {
    Reset();
    while (!input.empty()) Command(&input);
    Drain();
  }

 private:
  LaneLayout* lane() { return first_->lane().At<LaneLayout>(0); }

  void Reset() {
    memset(first_->lane().base() + sizeof(SegmentHeader), 0,
           LaneBytes(kUses) - sizeof(SegmentHeader));
    lane()->cursors.inode_uses = kUses;
    place_ = 0;
    arena_ = 0;
    Adopt();
  }

  void Adopt() {
    consumer_.reset();
    auto adopted = LaneConsumer::Adopt(std::move(*first_->lane().Alias()),
                                       std::move(*first_->arena().Alias()));
    if (!adopted) {
      // Only the length of the inode uses can make it refuse.
      REQUIRE(lane()->cursors.inode_uses > kUses);
      lane()->cursors.inode_uses = kUses;
      return Adopt();
    }
    consumer_ = std::move(*adopted);
    corrupt_ = false;
  }

  void Command(Input* input) {
    switch (input->Take<uint8_t>() % 12) {
      case 0:
      case 1:
        return PublishRecord(input);
      case 2:
      case 3:
        return SubmitCall(input);
      case 4:
        return Poke(input);
      case 5:
        for (uint8_t i = input->Take<uint8_t>() % 16; i > 0; --i) Pop();
        return;
      case 6:
        return consumer_->MarkApplied();
      case 7:
        (void)consumer_->Reply(static_cast<uint32_t>(input->Number(kRequestSlots)), RequestReply{});
        return;
      case 8:
        if (consumer_->PrepareSleep()) consumer_->Awake();
        return;
      case 9:
        return consumer_->FrontendGone();
      case 10:
        return Adopt();
      default:
        return LookAround(input);
    }
  }

  void PublishRecord(Input* input) {
    if (input->Take<uint8_t>() % 16 == 0) place_ = input->Number(lane()->cursors.applied.load());
    QueueRecord& record = lane()->queue[place_ % kQueueRecords];
    record.op = static_cast<uint32_t>(input->Number(static_cast<uint64_t>(QueueOp::kReads)));
    record.slot = static_cast<uint32_t>(input->Number(kRequestSlots));
    record.inode = input->Number(1);
    record.offset = input->Number(INT64_MAX);
    record.arena_position = input->Take<uint8_t>() % 4 == 0 ? input->Number(kArenaBytes) : arena_;
    record.length = static_cast<uint32_t>(input->Number(kMaxWrite));
    record.flags = static_cast<uint32_t>(input->Number(kOpenForWrite));
    arena_ = record.arena_position + record.length;
    record.position.store(++place_);
  }

  // A call that may be right, and its record.
  void SubmitCall(Input* input) {
    const uint32_t index = input->Take<uint8_t>() % kRequestSlots;
    RequestSlot& slot = lane()->slots[index];
    slot.args = RequestArgs{};
    slot.args.op = input->Take<uint8_t>() % 24;
    slot.args.name_bytes = static_cast<uint32_t>(input->Number(kMaxName));
    slot.args.name2_bytes = static_cast<uint32_t>(input->Number(kMaxName));
    if (input->Take<uint8_t>() % 2 == 0) slot.args.name_bytes %= 256;
    if (input->Take<uint8_t>() % 2 == 0) slot.args.name2_bytes = 0;
    memset(slot.text, input->Take<uint8_t>() % 4 == 0 ? input->Take<uint8_t>() : 'n',
           sizeof(slot.text));
    slot.state.store(input->Take<uint8_t>() % 4 == 0 ? input->Take<uint32_t>() : 1);
    if (input->Take<uint8_t>() % 8 == 0) return;
    QueueRecord& record = lane()->queue[place_ % kQueueRecords];
    record.op = static_cast<uint32_t>(QueueOp::kCall);
    record.slot = index;
    slot.position.store(place_ + 1);
    record.position.store(++place_);
  }

  void Poke(Input* input) {
    const uint64_t bytes = LaneBytes(kUses) - sizeof(SegmentHeader) - 8;
    const uint64_t offset = sizeof(SegmentHeader) + input->Take<uint32_t>() % bytes;
    const auto value = input->Take<uint64_t>();
    memcpy(first_->lane().base() + offset, &value, sizeof(value));
  }

  void LookAround(Input* input) {
    std::vector<uint64_t> hazards;
    consumer_->AddHazards(&hazards);
    consumer_->TakeUsed(static_cast<uint32_t>(input->Number(kUses)));
    consumer_->Lookups(static_cast<uint32_t>(input->Number(kUses)));
    consumer_->Opens(static_cast<uint32_t>(input->Number(kUses)));
    consumer_->Counter(static_cast<uint32_t>(input->Number(kCounterWords)));
    consumer_->HistogramBucket(static_cast<uint32_t>(input->Number(kHistogramRows)),
                               static_cast<uint32_t>(input->Number(kHistogramBuckets)));
  }

  LaneConsumer::Next Pop() {
    LaneConsumer::Item item;
    std::string why;
    const auto next = consumer_->Pop(&item, &why);
    REQUIRE(!corrupt_ || next == LaneConsumer::Next::kCorrupt);
    if (next == LaneConsumer::Next::kCorrupt) {
      REQUIRE(!why.empty());
      corrupt_ = true;
    }
    if (next == LaneConsumer::Next::kItem) CheckItem(item);
    return next;
  }

  void CheckItem(const LaneConsumer::Item& item) {
    switch (item.op) {
      case QueueOp::kNone:
        REQUIRE(false && "a void record is nobody's business");
        break;
      case QueueOp::kCall:
        REQUIRE(item.call.slot < kRequestSlots);
        REQUIRE(item.call.name.size() == item.call.args.name_bytes);
        REQUIRE(item.call.name2.size() == item.call.args.name2_bytes);
        REQUIRE(CheckRequest(item.call.args, item.call.name, item.call.name2) == 0);
        break;
      case QueueOp::kWrite: {
        REQUIRE(item.inode != 0);
        REQUIRE(item.data.size() <= kMaxWrite);
        REQUIRE(item.offset + item.data.size() <= static_cast<uint64_t>(INT64_MAX));
        const uint8_t* ring = consumer_->arena().base() + kArenaRingOffset;
        REQUIRE(item.data.data() >= ring);
        REQUIRE(item.data.data() + item.data.size() <= ring + kArenaBytes);
        break;
      }
      case QueueOp::kRelease:
      case QueueOp::kForget:
      case QueueOp::kTouch:
        REQUIRE(item.inode != 0);
        break;
      case QueueOp::kReads:
        REQUIRE(item.flags <= 1);
        break;
      case QueueOp::kInterrupt:
        break;
    }
  }

  // Ends: a frontend that does nothing more cannot keep the broker busy.
  void Drain() {
    uint32_t steps = 0;
    while (Pop() == LaneConsumer::Next::kItem) {
      REQUIRE(++steps <= kQueueRecords + kRequestSlots);
    }
    consumer_->MarkApplied();
  }

  std::unique_ptr<LaneConsumer> first_;  // owns the files; its own state is not used
  std::unique_ptr<LaneConsumer> consumer_;
  uint64_t place_ = 0;
  uint64_t arena_ = 0;
  bool corrupt_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static HostileLane lane;
  lane.Run(Input(data, size));
  return 0;
}
