// SPDX-License-Identifier: Apache-2.0
//
// StorageService: names, content and mutations.
#include "tools/gateway/storage_service.h"

#include <algorithm>

#include "shm/base/fault.h"
#include "tools/gateway/compression.h"
#include "tools/gateway/content.h"
#include "tools/gateway/validate.h"

namespace airstore::gateway {
namespace {

constexpr int kMaxResolveItems = 16384;
constexpr int kMaxFetchRanges = 4096;

// Of a listing, when others have changed so often what was being read: of a directory in which they
// work all the time only a short page is ever of one moment.
uint32_t PageAfter(int conflicts) {
  return static_cast<uint32_t>(Resolver::kPageEntries >> std::min(conflicts, 7));
}

// `page`: the most entries of a listing.
void ResolveOne(Resolver& resolver, const wire::ResolveItem& item, uint32_t page,
                wire::ResolveResult* result) {
  int error = EINVAL;
  ResolvedEntry entry;
  switch (item.what_case()) {
    case wire::ResolveItem::kLookup:
      error = resolver.Lookup(item.lookup().parent(), item.lookup().name(),
                              item.lookup().inline_bytes(), &entry);
      if (error == 0) ToWire(std::move(entry), result->mutable_entry());
      break;
    case wire::ResolveItem::kGetattr:
      error = resolver.GetAttr(item.getattr().inode(), item.getattr().inline_bytes(), &entry);
      if (error == 0) ToWire(std::move(entry), result->mutable_entry());
      break;
    case wire::ResolveItem::kList: {
      const wire::ListItem& list = item.list();
      Listed listed;
      const uint32_t most =
          list.max_entries() == 0 ? page : std::min<uint32_t>(list.max_entries(), page);
      error = resolver.List(
          {list.inode(), list.after(), most, list.inline_bytes(), list.inline_budget_bytes()},
          &listed);
      if (error == 0) ToWire(std::move(listed), result->mutable_listing());
      break;
    }
    case wire::ResolveItem::kGetxattr:
      error = resolver.GetXattr(item.getxattr().inode(), item.getxattr().name(),
                                result->mutable_xattr());
      break;
    case wire::ResolveItem::kListxattr: {
      std::vector<std::string> names;
      error = resolver.ListXattrs(item.listxattr().inode(), &names);
      for (std::string& name : names) {
        if (!item.listxattr().values()) {
          result->add_xattr_names(std::move(name));
          continue;
        }
        wire::Xattr* xattr = result->add_xattrs();
        (void)resolver.GetXattr(item.listxattr().inode(), name, xattr->mutable_value());
        xattr->set_name(std::move(name));
      }
      break;
    }
    case wire::ResolveItem::kLayout: {
      FileLayout layout;
      error = resolver.Layout({item.layout().inode(), item.layout().offset(),
                               item.layout().max_runs(), item.layout().blocks()},
                              &layout);
      if (error != 0) break;
      wire::Layout* out = result->mutable_layout();
      for (const auto& [offset, length] : layout.runs) {
        wire::Range* run = out->add_runs();
        run->set_offset(offset);
        run->set_length(length);
      }
      for (const BlockSource& block : layout.blocks) {
        wire::BlockRef* ref = out->add_blocks();
        ref->set_block_id(block.id.bytes.data(), block.id.bytes.size());
        ref->set_offset(block.offset);
      }
      out->set_end(layout.end);
      out->set_content_version(layout.content_version);
      out->set_size(layout.size);
      break;
    }
    case wire::ResolveItem::WHAT_NOT_SET:
      break;
  }
  result->set_error(error);
}

// Names, then what they lead to.
void Expect(const wire::ResolveRequest& request, WorkspaceKey ws, MetadataReader& reader) {
  if (request.items_size() < 2) return;
  ExpectedRows rows;
  for (const wire::ResolveItem& item : request.items()) {
    if (item.has_lookup()) rows.names.emplace_back(item.lookup().parent(), item.lookup().name());
    if (item.has_getattr()) rows.inodes.push_back(item.getattr().inode());
  }
  reader.Expect(ws, rows);
  ExpectedRows found;
  for (const auto& [parent, name] : rows.names) {
    if (const auto ino = reader.GetEntry(ws, parent, name)) found.inodes.push_back(*ino);
  }
  reader.Expect(ws, found);
}

bool Accepts(const wire::FetchRequest& request, wire::Compression compression) {
  return std::find(request.accept().begin(), request.accept().end(), compression) !=
         request.accept().end();
}

void SetPiece(FetchedPiece piece, bool zstd, wire::FetchedRange* out) {
  out->set_offset(piece.offset);
  out->set_length(piece.length);
  if (piece.data.empty()) return;  // a hole, or nothing
  out->set_xxh3(ContentHash(piece.data));
  if (zstd) {
    if (auto packed = Compress(piece.data)) {
      out->set_data(std::move(*packed));
      out->set_compression(wire::COMPRESSION_ZSTD);
      return;
    }
  }
  out->set_data(std::move(piece.data));
}

grpc::Status HeldByOther() {
  return {grpc::StatusCode::ABORTED, "another host is giving back its lease"};
}

grpc::Status RefusalStatus(const BatchResult& result) {
  using Refusal = BatchResult::Refusal;
  switch (result.refusal) {
    case Refusal::kUnknownSession:
      return UnknownSession();
    case Refusal::kSequenceGap:
      return {grpc::StatusCode::FAILED_PRECONDITION,
              "sequence gap: last applied is " + std::to_string(result.last_sequence)};
    case Refusal::kUnordered:
      return {grpc::StatusCode::INVALID_ARGUMENT, "sequences must ascend by 1, from 1"};
    case Refusal::kHeldByOther:
      return HeldByOther();
    case Refusal::kStore:
      return StoreStatus("apply", result.error);
    case Refusal::kLeaseLost:
    case Refusal::kUnregistered:
    case Refusal::kNone:
      break;
  }
  return grpc::Status::OK;
}

}  // namespace

grpc::Status StorageService::AdmitToData(const Context& context, std::string_view session_id,
                                         Access* access, std::set<InodeNo>* zones) {
  if (auto status = Admit(gateway_, context, session_id, access); !status.ok()) return status;
  auto standing = gateway_.sessions().Enter(access->session);
  if (!standing) return StoreStatus("leases", standing.error());
  *zones = std::move(standing->zones);
  return standing->held_by_other ? HeldByOther() : grpc::Status::OK;
}

grpc::Status StorageService::RegisterZones(const Access& access, const std::set<InodeNo>& touched,
                                           std::set<InodeNo>* zones, bool* again) {
  std::vector<InodeNo> fresh;
  for (const InodeNo zone : touched) {
    if (zone != kRootInode && !zones->contains(zone)) fresh.push_back(zone);
  }
  if (zones->contains(kAllZones)) fresh.clear();
  *again = !fresh.empty();
  if (fresh.empty()) return grpc::Status::OK;
  const auto free = gateway_.sessions().Register(access.session, fresh);
  if (!free) return StoreStatus("leases", free.error());
  if (!*free) return HeldByOther();
  zones->insert(fresh.begin(), fresh.end());
  return grpc::Status::OK;
}

grpc::Status StorageService::DoResolve(const Context& context, const wire::ResolveRequest& request,
                                       wire::ResolveResponse* response) {
  Access access;
  std::set<InodeNo> zones;
  if (auto status = AdmitToData(context, request.session_id(), &access, &zones); !status.ok()) {
    return status;
  }
  if (request.items_size() > kMaxResolveItems) {
    return {grpc::StatusCode::INVALID_ARGUMENT, "too many items"};
  }
  for (bool again = true; again;) {
    std::set<InodeNo> touched;
    int conflicts = -1;
    const auto done = UntilNoConflict([&]() -> Result<void> {
      ++conflicts;
      response->clear_results();
      auto reader = gateway_.store().Read();
      if (!reader) return reader.error();
      Expect(request, access.session.workspace, **reader);
      Resolver resolver(**reader, gateway_.blocks(), access.session.workspace);
      for (const wire::ResolveItem& item : request.items()) {
        ResolveOne(resolver, item, PageAfter(conflicts), response->add_results());
        if (resolver.overflown()) return Error{E2BIG, {}};
        if (context.IsCancelled()) return Error{ECANCELED, {}};
      }
      touched = resolver.zones();
      return (*reader)->status();
    });
    if (!done && done.error().code == ECANCELED && context.IsCancelled()) {
      return grpc::Status::CANCELLED;
    }
    if (!done && done.error().code == E2BIG) {
      return {grpc::StatusCode::RESOURCE_EXHAUSTED, "answer too large: ask for less at once"};
    }
    if (!done) return StoreStatus("resolve", done.error());
    // What was read before it is registered may be older than the first event.
    if (auto status = RegisterZones(access, touched, &zones, &again); !status.ok()) return status;
  }
  return grpc::Status::OK;
}

grpc::Status StorageService::DoFetch(const Context& context, const wire::FetchRequest& request,
                                     wire::FetchResponse* response) {
  Access access;
  std::set<InodeNo> zones;
  if (auto status = AdmitToData(context, request.session_id(), &access, &zones); !status.ok()) {
    return status;
  }
  if (request.ranges_size() > kMaxFetchRanges) {
    return {grpc::StatusCode::INVALID_ARGUMENT, "too many ranges"};
  }
  std::vector<ByteRange> ranges;
  uint64_t total = 0;
  for (const wire::Range& range : request.ranges()) {
    if (range.length() > kMaxFetchBytes || CheckRange(range.offset(), range.length()) != 0) {
      return {grpc::StatusCode::INVALID_ARGUMENT, "range too large"};
    }
    total += range.length();
    ranges.push_back({range.offset(), range.length()});
  }
  if (total > kMaxFetchBytes) return {grpc::StatusCode::INVALID_ARGUMENT, "ranges too large"};
  Result<FetchOutcome> outcome = FetchOutcome{};
  for (bool again = true; again;) {
    outcome = FetchContent(gateway_.store(), gateway_.blocks(), access.session.workspace,
                           request.inode(), ranges);
    if (!outcome) return StoreStatus("fetch", outcome.error());
    if (auto status = RegisterZones(access, {outcome->zone}, &zones, &again); !status.ok()) {
      return status;
    }
  }
  response->set_error(outcome->error);
  response->set_content_version(outcome->content_version);
  const bool zstd = Accepts(request, wire::COMPRESSION_ZSTD);
  for (FetchedPiece& piece : outcome->pieces) {
    SetPiece(std::move(piece), zstd, response->add_ranges());
  }
  return grpc::Status::OK;
}

grpc::Status StorageService::DoPutBlock(const Context& context,
                                        const wire::PutBlockRequest& request) {
  Access access;
  if (auto status = Admit(gateway_, context, request.session_id(), &access); !status.ok()) {
    return status;
  }
  if (access.caller.read_only) {
    return {grpc::StatusCode::PERMISSION_DENIED, "the token is read-only"};
  }
  if (request.block_id().size() != 16 || request.length() == 0 || request.length() > kBlockBytes) {
    return {grpc::StatusCode::INVALID_ARGUMENT, "block id or length"};
  }
  std::string_view data = request.data();
  std::optional<std::string> unpacked;
  if (request.compression() == wire::COMPRESSION_ZSTD) {
    unpacked = Decompress(data, request.length());
    if (!unpacked) return {grpc::StatusCode::DATA_LOSS, "block does not decompress"};
    data = *unpacked;
  } else if (request.compression() != wire::COMPRESSION_NONE) {
    return {grpc::StatusCode::INVALID_ARGUMENT, "unknown compression"};
  }
  if (data.size() != request.length() || ContentHash(data) != request.xxh3()) {
    return {grpc::StatusCode::DATA_LOSS, "block does not match its checksum"};
  }
  bool gone = false;
  auto done = gateway_.collector().StorePut(
      access.session.workspace, BlockId::From(request.block_id()), data, request.xxh3(), &gone);
  if (done) return grpc::Status::OK;
  if (done.error().code == EEXIST) {
    return {grpc::StatusCode::ALREADY_EXISTS, "another block has this id"};
  }
  if (gone) return {grpc::StatusCode::NOT_FOUND, done.error().message};
  return StoreStatus("put block", done.error());
}

grpc::Status StorageService::DoApply(const Context& context, const wire::ApplyRequest& request,
                                     wire::ApplyResponse* response, Published* published) {
  Access access;
  std::set<InodeNo> zones;
  if (auto status = AdmitToData(context, request.session_id(), &access, &zones); !status.ok()) {
    return status;
  }
  if (request.mutations_size() > static_cast<int>(kMaxBatchMutations)) {
    return {grpc::StatusCode::INVALID_ARGUMENT, "too many mutations"};
  }
  std::vector<Mutation> mutations;
  mutations.reserve(static_cast<size_t>(request.mutations_size()));
  for (const wire::Mutation& mutation : request.mutations())
    mutations.push_back(FromWire(mutation));
  std::vector<uint64_t> leases(request.more_lease_ids().begin(), request.more_lease_ids().end());
  if (request.lease_id() != 0) leases.push_back(request.lease_id());
  const BatchResult result = gateway_.batches().Apply(access.session.id, std::move(mutations),
                                                      access.caller.read_only, leases);
  if (result.refusal == BatchResult::Refusal::kLeaseLost) response->set_lease_lost(true);
  if (result.refusal != BatchResult::Refusal::kNone) return RefusalStatus(result);
  for (const LeaseRecord& lease : result.ended) {
    if (auto done = gateway_.sessions().Release(access.session, lease.id); !done) {
      return StoreStatus("apply", done.error());
    }
  }
  *published = {access.session.workspace, access.session.id, {result.cursor, result.only}};
  if (result.replayed) {
    // Whoever was to see it may not have: the answer that was lost had waited for that.
    const auto last = gateway_.bulletin().LastBy(access.session.workspace, access.session.id);
    if (!last) return StoreStatus("apply", last.error());
    published->told = *last;
  }
  response->mutable_results()->Reserve(static_cast<int>(result.outcomes.size()));
  for (const MutationOutcome& outcome : result.outcomes) ToWire(outcome, response->add_results());
  return grpc::Status::OK;
}

StorageService::Reactor* StorageService::Resolve(Context* context,
                                                 const wire::ResolveRequest* request,
                                                 wire::ResolveResponse* response) {
  return RunOn(readers_, context, [=, this] { return DoResolve(*context, *request, response); });
}

StorageService::Reactor* StorageService::Fetch(Context* context, const wire::FetchRequest* request,
                                               wire::FetchResponse* response) {
  return RunOn(fetchers_, context, [=, this] { return DoFetch(*context, *request, response); });
}

StorageService::Reactor* StorageService::PutBlock(Context* context,
                                                  const wire::PutBlockRequest* request,
                                                  wire::PutBlockResponse*) {
  return RunOn(writers_, context, [=, this] { return DoPutBlock(*context, *request); });
}

StorageService::Reactor* StorageService::Apply(Context* context, const wire::ApplyRequest* request,
                                               wire::ApplyResponse* response) {
  // The answer may wait for other hosts; no thread does.
  Reactor* reactor = context->DefaultReactor();
  writers_.Post([=, this] {
    Published published;
    const grpc::Status status = DoApply(*context, *request, response, &published);
    Reach(FaultPoint::kGatewayBeforeReply);
    if (!status.ok() || published.told.cursor == 0) {
      reactor->Finish(status);
      return;
    }
    const auto waits =
        gateway_.bulletin().WhenSeen(published.workspace, published.by, published.told,
                                     [reactor] { reactor->Finish(grpc::Status::OK); });
    // It is done. Whoever is told so must know that nobody sees the old state: that is for the
    // next try, which is told what came of this one.
    if (!waits) reactor->Finish(StoreStatus("apply", waits.error()));
  });
  return reactor;
}

}  // namespace airstore::gateway
