// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/outcome_codec.h"

namespace airstore::gateway {
namespace {

void PutNumber(std::string& out, uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

bool GetNumber(std::string_view& in, uint64_t* value) {
  *value = 0;
  for (unsigned shift = 0; shift < 64 && !in.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(in.front());
    in.remove_prefix(1);
    *value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

}  // namespace

std::string EncodeOutcomes(std::span<const MutationOutcome> outcomes) {
  std::string out;
  out.reserve(outcomes.size() * 12);
  for (const MutationOutcome& outcome : outcomes) {
    PutNumber(out, static_cast<uint64_t>(outcome.error));
    PutNumber(out, outcome.versions.size());
    for (const InodeVersion& v : outcome.versions) {
      PutNumber(out, v.ino);
      PutNumber(out, v.version);
      PutNumber(out, v.content_version);
    }
  }
  return out;
}

std::optional<std::vector<MutationOutcome>> DecodeOutcomes(uint64_t first, std::string_view data) {
  std::vector<MutationOutcome> outcomes;
  while (!data.empty()) {
    MutationOutcome outcome;
    outcome.sequence = first + outcomes.size();
    uint64_t error = 0;
    uint64_t count = 0;
    if (!GetNumber(data, &error) || !GetNumber(data, &count)) return std::nullopt;
    if (error > 4095 || count > data.size()) return std::nullopt;
    outcome.error = static_cast<int>(error);
    for (uint64_t i = 0; i < count; ++i) {
      InodeVersion v;
      if (!GetNumber(data, &v.ino) || !GetNumber(data, &v.version) ||
          !GetNumber(data, &v.content_version)) {
        return std::nullopt;
      }
      outcome.versions.push_back(v);
    }
    outcomes.push_back(std::move(outcome));
  }
  return outcomes;
}

}  // namespace airstore::gateway
