// SPDX-License-Identifier: Apache-2.0
#include "fake_broker.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "shm/channel.h"

namespace airstore::testing {
namespace {

constexpr uint32_t kInodes = 4096;

}  // namespace

FakeBroker::FakeBroker(volume::VolumeOptions options, Frontend frontend)
    : options_(std::move(options)) {
  options_.session[0] = 7;
  char pattern[] = "/tmp/airstore-frontends-XXXXXX";
  directory_ = mkdtemp(pattern);
  auto meta = shm::MetaWriter::Create(options_.session, {kInodes, 2 * kInodes, 64});
  AIRSTORE_CHECK(meta.has_value());
  meta_ = std::move(*meta);
  auto lane = shm::LaneConsumer::Create(options_.session, options_.mount_index, kInodes,
                                        directory_ + "/lane", directory_ + "/arena");
  AIRSTORE_CHECK(lane.has_value());
  lane_ = std::move(*lane);
  MakeSlabs();
  wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (frontend == Frontend::kHere) {
    auto meta_fd = meta_->segment().OpenReadOnly();
    AIRSTORE_CHECK(meta_fd.has_value());
    auto volume =
        volume::Volume::Create(options_, *std::move(meta_fd), UniqueFd(dup(lane_->lane().fd())),
                               UniqueFd(dup(lane_->arena().fd())), UniqueFd(dup(wake_)));
    AIRSTORE_CHECK(volume.has_value());
    volume_ = std::move(*volume);
  }
  thread_ = std::thread([this] { Run(); });
  Do([this] {
    shm::InodeRecord root{};
    root.inode = shm::kRootInode;
    root.mode = S_IFDIR | 0755;
    root.nlink = 2;
    root.known_by = ~0ull;
    root.flags = shm::kListingComplete;
    AIRSTORE_CHECK(meta_->AddInode(root).has_value());
  });
}

void FakeBroker::MakeSlabs() {
  slabs_ = std::make_unique<shm::SlabPool>(
      options_.session, shm::kSlabSegmentBytes,
      [this](std::vector<uint64_t>* keys) { lane_->AddHazards(keys); },
      [this](const shm::Segment& segment) { OnSegment(segment); });
}

void FakeBroker::Die() {
  stop_ = true;
  Wake();
  thread_.join();
  meta_.reset();
  slabs_.reset();
  lane_.reset();
}

std::string FakeBroker::Succeed(int socket) {
  const auto hello = shm::ReceiveHello(socket);
  AIRSTORE_CHECK(hello.has_value() && hello->fds.size() == 2);
  AIRSTORE_CHECK(hello->message.mount_index == options_.mount_index);
  auto dead = shm::Segment::Attach(UniqueFd(dup(hello->fds[1].get())),
                                   {shm::SegmentKind::kMeta, options_.session, 0}, false);
  AIRSTORE_CHECK(dead.has_value());
  shm::MetaWriter::Damage damage;
  auto meta = shm::MetaWriter::Adopt(options_.session, **dead, &damage);
  AIRSTORE_CHECK(meta.has_value() && damage.inodes + damage.dentries == 0);
  meta_ = std::move(*meta);
  MakeSlabs();
  for (uint64_t i = 0; i < hello->message.id; ++i) {
    auto slab = shm::ReceiveMessage(socket);
    AIRSTORE_CHECK(slab.has_value() && slab->fds.size() == 1);
    const auto index = static_cast<uint32_t>(slab->message.id);
    auto segment = shm::Segment::Attach(std::move(slab->fds[0]),
                                        {shm::SegmentKind::kSlab, options_.session, index}, false);
    AIRSTORE_CHECK(segment.has_value() && slabs_->Adopt(std::move(*segment)).has_value());
  }
  for (uint32_t index = 1; index < kInodes; ++index) {
    const shm::InodeRecord record = meta_->Inode(index);
    if (record.inode == 0 || record.extent_bytes == 0) continue;
    AIRSTORE_CHECK(slabs_->Keep({record.slab_index, record.extent_offset, record.extent_bytes}));
  }
  slabs_->DropUnused();
  const auto attach = [this](const char* name, shm::SegmentKind kind) {
    auto segment =
        shm::Segment::Attach(UniqueFd(open((directory_ + name).c_str(), O_RDWR | O_CLOEXEC)),
                             {kind, options_.session, options_.mount_index}, true);
    AIRSTORE_CHECK(segment.has_value());
    return std::move(*segment);
  };
  auto lane = shm::LaneConsumer::Adopt(attach("/lane", shm::SegmentKind::kLane),
                                       attach("/arena", shm::SegmentKind::kArena));
  AIRSTORE_CHECK(lane.has_value());
  lane_ = std::move(*lane);
  close(wake_);
  wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  channel_ = socket;
  stop_ = false;
  thread_ = std::thread([this] { Run(); });

  const auto meta_fd = meta_->segment().OpenReadOnly();
  AIRSTORE_CHECK(meta_fd.has_value());
  shm::ChannelMessage message{};
  message.kind = static_cast<uint32_t>(shm::ChannelKind::kReattach);
  AIRSTORE_CHECK(shm::SendMessage(socket, message, {meta_fd->get(), wake_}).has_value());
  const auto answer = shm::ReceiveMessage(socket);
  AIRSTORE_CHECK(answer.has_value());
  return {answer->message.text, answer->message.text_bytes};
}

FakeBroker::~FakeBroker() {
  stop_ = true;
  Wake();
  if (thread_.joinable()) thread_.join();
  volume_.reset();
  close(wake_);
  std::filesystem::remove_all(directory_);
}

void FakeBroker::OnSegment(const shm::Segment& segment) {
  auto fd = segment.OpenReadOnly();
  AIRSTORE_CHECK(fd.has_value());
  const uint32_t index = segment.header().index;
  if (volume_ != nullptr) {
    AIRSTORE_CHECK(volume_->OnSlab(index, *std::move(fd)).has_value());
    return;
  }
  shm::ChannelMessage message{};
  message.kind = static_cast<uint32_t>(shm::ChannelKind::kSlab);
  message.id = index;
  AIRSTORE_CHECK(shm::SendMessage(channel_, message, {fd->get()}).has_value());
}

void FakeBroker::SendAttach(int channel, int device, uint32_t flags) {
  channel_ = channel;
  auto meta = meta_->segment().OpenReadOnly();
  AIRSTORE_CHECK(meta.has_value());
  shm::ChannelMessage message{};
  message.kind = static_cast<uint32_t>(shm::ChannelKind::kAttach);
  std::copy(options_.session.begin(), options_.session.end(), message.session);
  message.mount_index = options_.mount_index;
  message.flags = flags;
  const UniqueFd listener(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address = NextBrokerAddress();
  unlink(address.sun_path);
  AIRSTORE_CHECK(
      bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  AIRSTORE_CHECK(shm::SendMessage(channel, message,
                                  {device, meta->get(), lane_->lane().fd(), lane_->arena().fd(),
                                   wake_, listener.get()})
                     .has_value());
}

sockaddr_un FakeBroker::NextBrokerAddress() const {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  snprintf(address.sun_path, sizeof(address.sun_path), "%s/mount.sock", directory_.c_str());
  return address;
}

void FakeBroker::Wake() {
  const uint64_t one = 1;
  AIRSTORE_CHECK(write(wake_, &one, sizeof(one)) == sizeof(one));
}

void FakeBroker::Run() {
  while (!stop_) {
    Consume();
    const std::function<void()>* next = nullptr;
    {
      const std::lock_guard lock(mutex_);
      if (!work_.empty()) {
        next = work_.front();
        work_.pop_front();
      }
    }
    if (next != nullptr) {
      (*next)();
      const std::lock_guard lock(mutex_);
      ++work_done_;
      done_.notify_all();
      continue;
    }
    if (!lane_->PrepareSleep()) continue;
    pollfd fd{wake_, POLLIN, 0};
    poll(&fd, 1, -1);
    uint64_t count;
    if (read(wake_, &count, sizeof(count)) < 0) AIRSTORE_CHECK(errno == EAGAIN);
    lane_->Awake();
  }
}

void FakeBroker::Consume() {
  shm::LaneConsumer::Item item;
  std::string why;
  for (;;) {
    const auto next = lane_->Pop(&item, &why);
    if (next == shm::LaneConsumer::Next::kCorrupt) {
      ADD_FAILURE() << "lane: " << why;
      stop_ = true;
      return;
    }
    if (next == shm::LaneConsumer::Next::kEmpty) break;
    ++popped_;
    Handle(item);
  }
  if (!hold_) lane_->MarkApplied();
}

void FakeBroker::Handle(const shm::LaneConsumer::Item& item) {
  if (item.op != shm::QueueOp::kCall) {
    const std::lock_guard lock(mutex_);
    if (item.op == shm::QueueOp::kWrite) {
      std::string& file = written_[item.inode];
      if (file.size() < item.offset + item.data.size()) {
        file.resize(item.offset + item.data.size());
      }
      file.replace(item.offset, item.data.size(),
                   {reinterpret_cast<const char*>(item.data.data()), item.data.size()});
    }
    items_.push_back(item);
    items_.back().data = {};
    return;
  }
  Handler handler;
  {
    const std::lock_guard lock(mutex_);
    ++calls_[static_cast<shm::Op>(item.call.args.op)];
    handler = handler_;
  }
  shm::RequestReply reply{};
  if (handler ? handler(item.call, &reply) : Answer(item.call, &reply)) {
    lane_->Reply(item.call.slot, reply);
  }
}

// What a broker would say whose tables are all there is: marks what it hands out as known.
bool FakeBroker::Answer(const shm::Call& call, shm::RequestReply* reply) {
  uint64_t inode = call.args.inode;
  if (static_cast<shm::Op>(call.args.op) == shm::Op::kLookup) {
    const uint32_t dentry = meta_->FindDentry(inode, call.name);
    inode = dentry == shm::kNoIndex ? 0 : meta_->Dentry(dentry).inode;
  }
  const uint32_t index = meta_->IndexOf(inode);
  if (index == shm::kNoIndex) {
    reply->error = ENOENT;
    return true;
  }
  shm::InodeRecord record = meta_->Inode(index);
  record.known_by |= 1ull << options_.mount_index;
  meta_->UpdateInode(index, record);
  reply->attr = record;
  reply->inode_index = index;
  return true;
}

void FakeBroker::Do(const std::function<void()>& work) {
  std::unique_lock lock(mutex_);
  work_.push_back(&work);
  const uint64_t ticket = ++work_given_;
  Wake();
  done_.wait(lock, [&] { return work_done_ >= ticket; });
}

void FakeBroker::OnCall(Handler handler) {
  const std::lock_guard lock(mutex_);
  handler_ = std::move(handler);
}

uint32_t FakeBroker::AddFile(uint64_t inode, uint64_t parent, const std::string& name) {
  return AddNamed(inode, parent, name, S_IFREG >> 12);
}

uint32_t FakeBroker::AddNamed(uint64_t inode, uint64_t parent, const std::string& name,
                              uint8_t type) {
  uint32_t index = 0;
  Do([&] {
    shm::InodeRecord record{};
    record.inode = inode;
    record.mode = S_IFREG | 0644;
    record.nlink = 1;
    record.uid = 5;
    record.gid = 6;
    record.known_by = ~0ull;
    record.content_generation = 1;
    index = *meta_->AddInode(record);
    AIRSTORE_CHECK(meta_->AddDentry(parent, name, inode, type).has_value());
  });
  return index;
}

uint32_t FakeBroker::AddDirectory(uint64_t inode, uint64_t parent, const std::string& name) {
  const uint32_t index = AddNamed(inode, parent, name, S_IFDIR >> 12);
  Change(inode, [](shm::InodeRecord* record) {
    record->mode = S_IFDIR | 0755;
    record->flags = shm::kListingComplete;
  });
  return index;
}

void FakeBroker::SetContent(uint64_t inode, const std::string& content) {
  Do([&] {
    const uint32_t index = meta_->IndexOf(inode);
    shm::InodeRecord record = meta_->Inode(index);
    const shm::Extent old{record.slab_index, record.extent_offset, record.extent_bytes};
    const auto extent =
        slabs_->Store({reinterpret_cast<const uint8_t*>(content.data()), content.size()});
    AIRSTORE_CHECK(extent.has_value());
    const bool had = record.content_kind == static_cast<uint32_t>(shm::ContentKind::kSlab);
    record.content_kind = static_cast<uint32_t>(shm::ContentKind::kSlab);
    record.slab_index = extent->slab;
    record.extent_offset = extent->offset;
    record.extent_bytes = extent->bytes;
    record.size = content.size();
    ++record.content_generation;
    meta_->UpdateInode(index, record);
    if (had) slabs_->Free(old);
  });
}

void FakeBroker::Change(uint64_t inode, const std::function<void(shm::InodeRecord*)>& change) {
  Do([&] {
    const uint32_t index = meta_->IndexOf(inode);
    shm::InodeRecord record = meta_->Inode(index);
    change(&record);
    meta_->UpdateInode(index, record);
  });
}

shm::InodeRecord FakeBroker::Record(uint64_t inode) {
  shm::InodeRecord record{};
  Do([&] { record = meta_->Inode(meta_->IndexOf(inode)); });
  return record;
}

uint32_t FakeBroker::Index(uint64_t inode) {
  uint32_t index = 0;
  Do([&] { index = meta_->IndexOf(inode); });
  return index;
}

uint64_t FakeBroker::CallsOf(shm::Op op) {
  const std::lock_guard lock(mutex_);
  return calls_[op];
}

uint64_t FakeBroker::Counter(uint32_t counter) {
  uint64_t value = 0;
  Do([&] { value = lane_->Counter(counter); });
  return value;
}

std::vector<shm::LaneConsumer::Item> FakeBroker::Items() {
  Do([] {});  // what was queued before has been taken
  const std::lock_guard lock(mutex_);
  return items_;
}

std::string FakeBroker::Written(uint64_t inode) {
  Do([] {});
  const std::lock_guard lock(mutex_);
  return written_[inode];
}

void StringSink::Deliver(const iovec* parts, int count) {
  ++deliveries;
  for (int i = 0; i < count; ++i) {
    bytes.append(static_cast<const char*>(parts[i].iov_base), parts[i].iov_len);
  }
}

}  // namespace airstore::testing
