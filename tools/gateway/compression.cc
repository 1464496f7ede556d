// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/compression.h"

#include <zstd.h>

namespace airstore::gateway {
namespace {

constexpr size_t kWorthwhile = 512;
constexpr int kLevel = 1;  // a gateway's core is dearer than a tenth of the bytes

}  // namespace

std::optional<std::string> Compress(std::string_view data) {
  if (data.size() < kWorthwhile) return std::nullopt;
  // No more room than what is worth it: zstd stops when it does not fit.
  std::string out(data.size() - data.size() / 8, '\0');
  const size_t n = ZSTD_compress(out.data(), out.size(), data.data(), data.size(), kLevel);
  if (ZSTD_isError(n)) return std::nullopt;
  out.resize(n);
  return out;
}

std::optional<std::string> Decompress(std::string_view data, uint64_t length) {
  std::string out(length, '\0');
  const size_t n = ZSTD_decompress(out.data(), out.size(), data.data(), data.size());
  if (ZSTD_isError(n) || n != length) return std::nullopt;
  return out;
}

}  // namespace airstore::gateway
