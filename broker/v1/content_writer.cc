// SPDX-License-Identifier: Apache-2.0
#include "broker/v1/content_writer.h"

#include <algorithm>

namespace airstore::broker::v1 {
namespace {

constexpr uint64_t kPart = 8u << 20;

uint64_t EndOf(const WriteOp& op) {
  uint64_t end = 0;
  for (const WriteExtent& extent : op.extents) end = std::max(end, extent.offset + extent.length);
  return end;
}

bool CoversAll(const WriteOp& op, uint64_t size) {
  uint64_t at = 0;
  for (const WriteExtent& extent : op.extents) {
    if (extent.offset > at) return false;
    at = std::max(at, extent.offset + extent.length);
  }
  return at >= size;
}

bool ChangesHead(const WriteOp& op) {
  return std::any_of(op.extents.begin(), op.extents.end(),
                     [](const WriteExtent& extent) { return extent.offset == 0; });
}

// Bytes of an extent; zeros for a hole.
Result<std::string> BytesOf(const BlockStore& blocks, const WriteExtent& extent, uint64_t offset,
                            uint64_t length) {
  if (const auto* data = std::get_if<std::string>(&extent.source)) {
    return data->substr(offset, length);
  }
  if (const auto* place = std::get_if<BlockPlace>(&extent.source)) {
    return blocks.Get(place->first, place->second + offset, length);
  }
  return std::string(length, '\0');
}

}  // namespace

Task<Result<void>> ContentWriter::Write(std::string path, Info before, const WriteOp* op) {
  Wanted wanted;
  wanted.op = op;
  wanted.before = before.size;
  wanted.size = op->size.value_or(std::max(before.size, EndOf(*op)));
  wanted.path = std::move(path);
  if (op->extents.empty()) {
    co_return co_await Resize(wanted.path, before, wanted.size);
  }
  if (site_->exact()) co_return co_await WriteRanges(&wanted);
  if (wanted.size > kMostOfTheOriginal) co_return Error{EFBIG, wanted.path};
  if (wanted.size <= kMostContent) co_return co_await WriteWhole(&wanted);
  if (ChangesHead(*op)) co_return co_await WriteAside(&wanted, before);
  co_return co_await WriteRanges(&wanted);
}

// Also what has that size already: the gateway gives it new times.
Task<Result<void>> ContentWriter::Resize(std::string path, Info before, uint64_t size) {
  if (!site_->exact() && size > kMostOfTheOriginal) co_return Error{EFBIG, path};
  (void)before;
  co_return co_await site_->client->Truncate(path, size);
}

Task<Result<std::string>> ContentWriter::Compose(const Wanted* wanted, uint64_t offset,
                                                 uint64_t length) {
  std::string bytes;
  if (offset < wanted->before && !CoversAll(*wanted->op, wanted->size)) {
    const uint64_t there = std::min(length, wanted->before - offset);
    auto read = co_await site_->client->Read(wanted->path, offset, there);
    if (!read) co_return read.error();
    if (read->size() != there) co_return Error{ESTALE, "it has become shorter"};
    bytes = std::move(*read);
  }
  bytes.resize(length, '\0');
  for (const WriteExtent& extent : wanted->op->extents) {
    const uint64_t from = std::max(extent.offset, offset);
    const uint64_t to = std::min(extent.offset + extent.length, offset + length);
    if (from >= to) continue;
    auto piece = BytesOf(site_->blocks, extent, from - extent.offset, to - from);
    if (!piece) co_return piece.error();
    bytes.replace(from - offset, to - from, *piece);
  }
  co_return bytes;
}

Task<Result<void>> ContentWriter::WriteWhole(const Wanted* wanted) {
  if (wanted->size == 0) co_return co_await site_->client->Truncate(wanted->path, 0);
  auto bytes = co_await Compose(wanted, 0, wanted->size);
  if (!bytes) co_return bytes.error();
  co_return co_await site_->client->Write(wanted->path, 0, std::move(*bytes));
}

Task<Result<void>> ContentWriter::WriteAside(const Wanted* wanted, Info before) {
  const size_t slash = wanted->path.rfind('/');
  const std::string directory = slash == std::string::npos ? "" : wanted->path.substr(0, slash);
  const std::string name =
      slash == std::string::npos ? wanted->path : wanted->path.substr(slash + 1);
  const std::string aside = JoinPath(directory, kAsidePrefix + name);
  ContextClient& client = *site_->client;
  if (!site_->first_era) AIRSTORE_TRY_CO(co_await client.Create(aside, before.mode, false));
  for (uint64_t offset = 0; offset < wanted->size; offset += kPart) {
    auto bytes = co_await Compose(wanted, offset, std::min(kPart, wanted->size - offset));
    if (!bytes) co_return bytes.error();
    AIRSTORE_TRY_CO(co_await client.Write(aside, offset, std::move(*bytes)));
  }
  AIRSTORE_TRY_CO(co_await client.Rename(aside, wanted->path));
  // It may say so and have only copied.
  auto left = co_await client.Stat(aside);
  if (left) AIRSTORE_TRY_CO(co_await client.Delete(aside));
  co_return Result<void>{};
}

Task<Result<void>> ContentWriter::WriteRanges(const Wanted* wanted) {
  ContextClient& client = *site_->client;
  uint64_t there = wanted->before;
  if (wanted->size < there) {
    AIRSTORE_TRY_CO(co_await client.Truncate(wanted->path, wanted->size));
    there = wanted->size;
  }
  for (const WriteExtent& extent : wanted->op->extents) {
    const bool hole = std::holds_alternative<std::monostate>(extent.source);
    const uint64_t end = std::min(extent.offset + extent.length, wanted->size);
    for (uint64_t at = extent.offset; at < end; at += kPart) {
      // Behind the end all is zeros, and so it stays.
      if (hole && at >= there) break;
      const uint64_t length = std::min(kPart, (hole ? std::min(end, there) : end) - at);
      auto bytes = BytesOf(site_->blocks, extent, at - extent.offset, length);
      if (!bytes) co_return bytes.error();
      AIRSTORE_TRY_CO(co_await client.Write(wanted->path, at, std::move(*bytes)));
      there = std::max(there, at + length);
    }
  }
  if (there != wanted->size) {
    AIRSTORE_TRY_CO(co_await client.Truncate(wanted->path, wanted->size));
  }
  co_return Result<void>{};
}

}  // namespace airstore::broker::v1
