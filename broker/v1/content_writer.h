// SPDX-License-Identifier: Apache-2.0
//
// ContentWriter: makes a file at a v1 gateway what a write says.
//
// To the original a write at offset 0 is the whole file, and any other one is a rewrite of it
// there. So what fits in a message goes as a whole, in one call; what does not is made under
// another name and takes the file's place when it is complete, unless its beginning stays as it is.
// Gateways that are exact get the ranges.
//
// Threads: the event loop.
// Fails: with the errno of the call that failed. The file is what it was then, or a part of the
// write is done; making it again makes it whole.
#pragma once

#include <string>

#include "broker/v1/site.h"

namespace airstore::broker::v1 {

class ContentWriter {
 public:
  explicit ContentWriter(Site* site) : site_(site) {}

  // `before`: what is there. Afterwards the file has `op.size` bytes, if that is told.
  Task<Result<void>> Write(std::string path, Info before, const WriteOp* op);
  Task<Result<void>> Resize(std::string path, Info before, uint64_t size);

 private:
  struct Wanted {
    const WriteOp* op = nullptr;
    uint64_t size = 0;    // of the file afterwards
    uint64_t before = 0;  // size of what is there
    std::string path;
  };
  // The bytes that the file is to have there: the write's, else what is at the gateway.
  Task<Result<std::string>> Compose(const Wanted* wanted, uint64_t offset, uint64_t length);
  Task<Result<void>> WriteWhole(const Wanted* wanted);
  Task<Result<void>> WriteAside(const Wanted* wanted, Info before);
  Task<Result<void>> WriteRanges(const Wanted* wanted);

  Site* site_;
};

// The greatest file of the original.
inline constexpr uint64_t kMostOfTheOriginal = 64ull << 20;
// Listings of the original do not show names that begin so.
inline constexpr char kAsidePrefix[] = "._airstore-";

}  // namespace airstore::broker::v1
