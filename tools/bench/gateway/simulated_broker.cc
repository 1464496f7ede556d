// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/gateway/simulated_broker.h"

#include <sys/stat.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <stdexcept>

namespace airstore::bench {
namespace {

using Stub = wire::Storage::Stub;

constexpr int64_t kTimeNs = 1'700'000'000'000'000'000;
constexpr size_t kPackedFile = 4096;  // of the block that small files share

std::string RandomBytes(std::mt19937_64& random, size_t count) {
  std::string bytes(count, '\0');
  for (size_t i = 0; i < count; i += 8) {
    const uint64_t word = random();
    memcpy(bytes.data() + i, &word, std::min<size_t>(8, count - i));
  }
  return bytes;
}

}  // namespace

void LoadCounts::Add(LoadCounts&& other) {
  changes += other.changes;
  lookups += other.lookups;
  written_bytes += other.written_bytes;
  read_bytes += other.read_bytes;
  for (auto& [name, times] : other.call_ms) {
    std::vector<double>& all = call_ms[name];
    all.insert(all.end(), times.begin(), times.end());
  }
}

SimulatedBroker::SimulatedBroker(const std::string& address, std::string token, uint64_t seed)
    : token_(std::move(token)), random_(seed) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(16 << 20);
  arguments.SetInt("grpc.use_local_subchannel_pool", 1);  // a connection of its own
  storage_ = wire::Storage::NewStub(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
}

template <typename Method, typename Request, typename Response>
void SimulatedBroker::Call(const char* name, Method method, const Request& request,
                           Response* response) {
  const auto begun = std::chrono::steady_clock::now();
  while (true) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + token_);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    const grpc::Status status = (storage_.get()->*method)(&context, request, response);
    if (status.ok()) break;
    // Another broker gives back its lease.
    if (status.error_code() == grpc::StatusCode::ABORTED) continue;
    throw std::runtime_error(std::string(name) + ": " + status.error_message());
  }
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begun;
  counts_.call_ms[name].push_back(took.count());
}

void SimulatedBroker::Open(bool alone) {
  session_ = RandomBytes(random_, 16);
  wire::OpenSessionRequest request;
  wire::OpenSessionResponse response;
  request.set_session_id(session_);
  request.set_protocol_revision(1);
  request.set_client("airstore-bench-gateway");
  request.set_want_write_lease(alone);
  Call("open", &Stub::OpenSession, request, &response);
  lease_ = response.lease().id();
  next_inode_ = response.inodes().first();
  end_inode_ = next_inode_ + response.inodes().count();
  wire::ApplyRequest batch;
  const uint64_t inode = next_inode_;
  AddFile(&batch, "broker-" + std::to_string(random_()), S_IFDIR | 0755);
  Apply(&batch);
  directory_ = inode;
}

void SimulatedBroker::Close() {
  wire::CloseSessionRequest request;
  wire::CloseSessionResponse response;
  request.set_session_id(session_);
  Call("close", &Stub::CloseSession, request, &response);
}

uint64_t SimulatedBroker::NewInode() {
  if (next_inode_ == end_inode_) {
    wire::AllocateInodesRequest request;
    wire::AllocateInodesResponse response;
    request.set_session_id(session_);
    Call("allocate", &Stub::AllocateInodes, request, &response);
    next_inode_ = response.inodes().first();
    end_inode_ = next_inode_ + response.inodes().count();
  }
  return next_inode_++;
}

wire::Mutation* SimulatedBroker::Add(wire::ApplyRequest* batch) {
  wire::Mutation* mutation = batch->add_mutations();
  mutation->set_sequence(++sequence_);
  mutation->set_time_ns(kTimeNs);
  return mutation;
}

wire::Create* SimulatedBroker::AddFile(wire::ApplyRequest* batch, const std::string& name,
                                       uint32_t mode) {
  wire::Create* create = Add(batch)->mutable_create();
  create->set_parent(directory_);
  create->set_name(name);
  create->set_inode(NewInode());
  create->set_mode(mode);
  create->set_uid(1000);
  create->set_gid(1000);
  return create;
}

void SimulatedBroker::Apply(wire::ApplyRequest* batch) {
  batch->set_session_id(session_);
  batch->set_lease_id(lease_);
  wire::ApplyResponse response;
  Call("apply", &Stub::Apply, *batch, &response);
  if (response.lease_lost()) {
    lease_ = 0;
    batch->set_lease_id(0);
    Call("apply", &Stub::Apply, *batch, &response);
  }
  for (const wire::MutationResult& result : response.results()) {
    if (result.error() != 0) {
      throw std::runtime_error("a change was refused: " + std::string(strerror(result.error())));
    }
  }
  counts_.changes += static_cast<uint64_t>(batch->mutations_size());
}

void SimulatedBroker::ChangeMetadata(size_t files) {
  wire::ApplyRequest make, change;
  wire::ResolveRequest lookup;
  lookup.set_session_id(session_);
  std::vector<std::pair<std::string, uint64_t>> made;
  for (size_t i = 0; i < files; ++i) {
    const std::string name = "file-" + std::to_string(made_++);
    made.emplace_back(name, AddFile(&make, name, S_IFREG | 0644)->inode());
    wire::LookupItem* item = lookup.add_items()->mutable_lookup();
    item->set_parent(directory_);
    item->set_name(name);
  }
  Apply(&make);
  wire::ResolveResponse found;
  Call("resolve", &Stub::Resolve, lookup, &found);
  for (const wire::ResolveResult& result : found.results()) {
    if (result.error() != 0) throw std::runtime_error("a file that was made is not there");
  }
  counts_.lookups += files;
  for (size_t i = 0; i < files; ++i) {
    if (i % 2 == 0) {
      wire::SetAttr* attr = Add(&change)->mutable_setattr();
      attr->set_inode(made[i].second);
      attr->set_mode(0600);
    } else {
      wire::Unlink* unlink = Add(&change)->mutable_unlink();
      unlink->set_parent(directory_);
      unlink->set_name(made[i].first);
    }
  }
  Apply(&change);
}

std::string SimulatedBroker::NewBlock(size_t bytes, const std::string& data) {
  wire::PutBlockRequest request;
  wire::PutBlockResponse response;
  request.set_session_id(session_);
  request.set_block_id(RandomBytes(random_, 16));
  request.set_length(bytes);
  request.set_xxh3(XXH3_64bits(data.data(), data.size()));
  request.set_data(data);
  Call("put block", &Stub::PutBlock, request, &response);
  counts_.written_bytes += bytes;
  return request.block_id();
}

void SimulatedBroker::MoveContent(size_t bytes) {
  const std::string data = RandomBytes(random_, bytes);
  const std::string block = NewBlock(bytes, data);
  wire::ApplyRequest batch;
  const uint64_t inode =
      AddFile(&batch, "content-" + std::to_string(made_++), S_IFREG | 0644)->inode();
  wire::Write* write = Add(&batch)->mutable_write();
  write->set_inode(inode);
  wire::Extent* extent = write->add_extents();
  extent->set_length(bytes);
  extent->mutable_block()->set_block_id(block);
  Apply(&batch);
  wire::FetchRequest fetch;
  wire::FetchResponse fetched;
  fetch.set_session_id(session_);
  fetch.set_inode(inode);
  wire::Range* range = fetch.add_ranges();
  range->set_length(bytes);
  Call("fetch", &Stub::Fetch, fetch, &fetched);
  if (fetched.ranges_size() != 1 || fetched.ranges(0).data() != data) {
    throw std::runtime_error("what was read is not what was written");
  }
  counts_.read_bytes += bytes;
}

void SimulatedBroker::Fill(size_t files, bool packed, size_t name_bytes) {
  const std::string data = RandomBytes(random_, packed ? files * kPackedFile : 1);
  std::string block;
  if (packed) block = NewBlock(data.size(), data);
  wire::ApplyRequest batch;
  for (size_t i = 0; i < files; ++i) {
    std::string name = "file-" + std::to_string(made_++);
    name.resize(std::max(name.size(), name_bytes), 'x');
    const uint64_t inode = AddFile(&batch, name, S_IFREG | 0644)->inode();
    if (!packed) block = NewBlock(data.size(), data);
    wire::Write* write = Add(&batch)->mutable_write();
    write->set_inode(inode);
    wire::Extent* extent = write->add_extents();
    extent->set_length(packed ? kPackedFile : data.size());
    extent->mutable_block()->set_block_id(block);
    if (packed) extent->mutable_block()->set_offset(i * kPackedFile);
  }
  Apply(&batch);
}

}  // namespace airstore::bench
