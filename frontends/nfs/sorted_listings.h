// SPDX-License-Identifier: Apache-2.0
//
// SortedListings: lists directories in an order that depends on nothing but names: by a keyed hash
// of each, which is the cookie behind it. So a cookie means the same for as long as the export has
// its key, however many directories are listed, whoever was restarted and whatever has left the
// tables meanwhile, and nothing is kept for the sake of clients. Two names of one directory with
// one hash, of 63 bits, would be needed to lose one.
//
// What is kept is a cache: where in the tables the names of the last large directories are, in that
// order. It is made anew when it is not there, when a listing begins, and when a place turns out to
// hold something else.
// Threads: any. Memory: 16 bytes for each name, of a few directories, until the process is idle.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "frontends/volume/volume.h"
#include "shm/base/siphash.h"

namespace airstore::nfs {

class SortedListings final : public volume::NameOrder {
 public:
  // Behind "." and "..".
  static constexpr uint64_t kDots = 2;

  SortedListings(volume::Volume* volume, const SipKey& key) : volume_(*volume), key_(key) {}

  // From behind `cookie` on. An errno. `end`: there are no further names.
  int List(volume::Request& request, uint64_t directory, uint64_t cookie, volume::Listing listing,
           volume::DirSink& sink, bool* end);
  // Lets go of what nobody has gone on with lately. False: nothing is kept any more.
  bool DropIdle();

  uint64_t PlaceOf(std::string_view name) const override;

 private:
  struct Places {
    uint64_t number = 0;  // of sorts that began later it is larger
    std::vector<volume::PlacedName> names;
  };
  using PlacesPtr = std::shared_ptr<const Places>;
  struct Kept {
    uint64_t directory = 0;
    PlacesPtr places;
    uint64_t used_ns = 0;
  };
  static constexpr size_t kKept = 16;
  static constexpr uint64_t kIdleNs = 2'000'000'000;
  static constexpr size_t kMostPlaces = 2u << 20;  // of all that are kept, but for the last one

  int Sort(volume::Request& request, uint64_t directory, PlacesPtr* out);
  PlacesPtr Find(uint64_t directory);
  void Keep(uint64_t directory, PlacesPtr places);

  volume::Volume& volume_;
  const SipKey key_;
  std::mutex mutex_;
  uint64_t sorts_ = 0;            // guarded by mutex_
  std::array<Kept, kKept> kept_;  // guarded by mutex_; last used first
};

}  // namespace airstore::nfs
