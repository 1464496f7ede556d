// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/sorted_listings.h"

#include <dirent.h>

#include <algorithm>

#include "frontends/volume/stopwatch.h"

namespace airstore::nfs {
namespace {

constexpr uint64_t kLargest = ~uint64_t{0} >> 1;  // clients take cookies for signed
constexpr int kTries = 100;                       // without handing out a name

// For DirHints: apart from the numbers that Volume::Opendir gives.
uint64_t HintOf(uint64_t inode) { return inode | uint64_t{1} << 63; }

class Collector final : public volume::DirSink {
 public:
  Collector(const volume::NameOrder& order, std::vector<volume::PlacedName>* out)
      : order_(order), out_(*out) {}
  bool Fits(size_t /*name_bytes*/) override { return true; }
  void Add(const volume::DirEntry& entry) override {
    if (entry.index == shm::kNoIndex) return;  // the dots
    out_.push_back({order_.PlaceOf(entry.name), entry.index});
  }

 private:
  const volume::NameOrder& order_;
  std::vector<volume::PlacedName>& out_;
};

uint64_t NowNs() { return volume::ClockNs(CLOCK_MONOTONIC); }

bool Before(const volume::PlacedName& a, const volume::PlacedName& b) { return a.place < b.place; }

}  // namespace

uint64_t SortedListings::PlaceOf(std::string_view name) const {
  const uint64_t hash = SipHash(key_, {reinterpret_cast<const uint8_t*>(name.data()), name.size()});
  return std::max(hash & kLargest, kDots + 1);
}

int SortedListings::Sort(volume::Request& request, uint64_t directory, PlacesPtr* out) {
  auto places = std::make_shared<Places>();
  {
    const std::lock_guard lock(mutex_);
    places->number = ++sorts_;
  }
  Collector collector(*this, &places->names);
  const int error = volume_.Readdir(request, directory, HintOf(directory), kDots,
                                    volume::Listing::kNames, collector);
  if (error != 0) return error;
  std::sort(places->names.begin(), places->names.end(), Before);
  places->names.shrink_to_fit();
  *out = std::move(places);
  return 0;
}

int SortedListings::List(volume::Request& request, uint64_t directory, uint64_t cookie,
                         volume::Listing listing, volume::DirSink& sink, bool* end) {
  *end = false;
  bool any = false;
  const volume::DirEntry dots[] = {{".", 1, directory, DT_DIR, nullptr, shm::kNoIndex},
                                   {"..", kDots, shm::kRootInode, DT_DIR, nullptr, shm::kNoIndex}};
  for (const volume::DirEntry& dot : dots) {
    if (cookie >= dot.offset) continue;
    if (!sink.Fits(dot.name.size())) return 0;
    sink.Add(dot);
    any = true;
  }
  PlacesPtr places = cookie > kDots ? Find(directory) : nullptr;
  for (int tries = 0; tries < kTries; ++tries) {
    if (places == nullptr) {
      const int error = Sort(request, directory, &places);
      if (error != 0) return any ? 0 : error;
    }
    const auto from = std::upper_bound(places->names.begin(), places->names.end(),
                                       volume::PlacedName{cookie, 0}, Before);
    const std::span<const volume::PlacedName> rest(from, places->names.end());
    size_t done = 0;
    const auto ended = volume_.ReaddirPlaces(request, directory, rest, *this, listing, sink, &done);
    if (done != 0) {
      cookie = rest[done - 1].place;
      any = true;
      tries = 0;
    }
    if (ended == volume::PlacesEnd::kAll) *end = true;
    if (ended == volume::PlacesEnd::kFull) Keep(directory, std::move(places));
    if (ended != volume::PlacesEnd::kChanged) return 0;
    places.reset();
  }
  return any ? 0 : ETIMEDOUT;
}

SortedListings::PlacesPtr SortedListings::Find(uint64_t directory) {
  const std::lock_guard lock(mutex_);
  const auto at = std::find_if(kept_.begin(), kept_.end(),
                               [&](const Kept& kept) { return kept.directory == directory; });
  return at == kept_.end() ? nullptr : at->places;
}

void SortedListings::Keep(uint64_t directory, PlacesPtr places) {
  const std::lock_guard lock(mutex_);
  auto at = std::find_if(kept_.begin(), kept_.end(),
                         [&](const Kept& kept) { return kept.directory == directory; });
  if (at == kept_.end()) at = kept_.end() - 1;
  // Others may list it from a later one, in which there are names that are not in this.
  if (at->directory == directory && at->places != nullptr && at->places->number > places->number) {
    return;
  }
  *at = {directory, std::move(places), NowNs()};
  std::rotate(kept_.begin(), at, at + 1);
  size_t total = 0;
  for (size_t i = 1; i < kept_.size(); ++i) {
    total += kept_[i].places == nullptr ? 0 : kept_[i].places->names.size();
    if (total > kMostPlaces) kept_[i] = {};
  }
}

bool SortedListings::DropIdle() {
  const uint64_t now = NowNs();
  const std::lock_guard lock(mutex_);
  bool any = false;
  for (Kept& kept : kept_) {
    if (now - kept.used_ns >= kIdleNs) kept = {};
    any = any || kept.places != nullptr;
  }
  return any;
}

}  // namespace airstore::nfs
