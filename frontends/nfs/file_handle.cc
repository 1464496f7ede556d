// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/file_handle.h"

#include <cstring>

namespace airstore::nfs {
namespace {

constexpr uint64_t kFormat = 0x3130'666e'7361'0000;  // of the words below

struct Words {
  uint64_t format;
  uint64_t inode;
  uint64_t generation;
  uint64_t seal;
};
static_assert(sizeof(Words) == FileHandles::kBytes);

uint64_t SealOf(const SipKey& key, const Words& words) {
  return SipHash(key, {reinterpret_cast<const uint8_t*>(&words), offsetof(Words, seal)});
}

}  // namespace

FileHandles::Handle FileHandles::Seal(FileRef file) const {
  Words words{kFormat, file.inode, file.generation, 0};
  words.seal = SealOf(key_, words);
  Handle handle;
  memcpy(handle.data(), &words, sizeof(words));
  return handle;
}

std::optional<FileRef> FileHandles::Open(std::span<const char> handle) const {
  Words words;
  if (handle.size() != sizeof(words)) return std::nullopt;
  memcpy(&words, handle.data(), sizeof(words));
  if (words.format != kFormat || words.seal != SealOf(key_, words)) return std::nullopt;
  return FileRef{words.inode, words.generation};
}

}  // namespace airstore::nfs
