// SPDX-License-Identifier: Apache-2.0
//
// Listing directories by walking the chain of dentries while the broker changes it.
//
// Each step checks that it followed a link of the chain as it is now: the entry belongs to the
// directory, its cookie is greater than the last one, and its back link names the entry the step
// came from. The back link matters: an entry that was removed and reused for a new name of the same
// directory passes the other two checks, and following it would skip all names in between. The
// entry of origin is looked at once more, for it may have been reused as well. After a
// failed check the walk starts again at the first entry and passes over what it has handed out,
// which the ascending cookies tell; so what stays in the directory is listed exactly once.
#include <dirent.h>
#include <sched.h>

#include "frontends/volume/stopwatch.h"
#include "frontends/volume/volume.h"

namespace airstore::volume {
namespace {

// Offsets 1 and 2 are behind "." and ".."; the entry with cookie c ends at c + kDots.
constexpr uint64_t kDots = 2;
constexpr int kWalkTries = 1000;  // in a row, without handing out a single name

// A cookie is given once per directory, so an entry that still has it was there all the time. A
// look at one word is enough: it only has to differ if the entry was reused.
bool StillThere(const shm::MetaView& view, uint32_t index, uint64_t cookie) {
  constexpr size_t kCookieWord = offsetof(shm::DentryRecord, cookie) / 8;
  return index == shm::kNoIndex ||
         view.dentry(index).words[kCookieWord].load(std::memory_order_acquire) == cookie;
}

}  // namespace

uint64_t Volume::Opendir(uint64_t directory) {
  shm::InodeRef found;
  shm::InodeUse* use = reader_.FindInode(directory, &found) ? lane_->Use(found.index) : nullptr;
  if (use != nullptr) {
    use->opens.fetch_add(1, std::memory_order_seq_cst);
    lane_->NoteEffect(shm::LocalEffect::kOpen, found.index);
  }
  return dir_hints_.NewHandle();
}

void Volume::Releasedir(uint64_t directory) {
  shm::InodeRef found;
  if (lane_->NoteRelease() && reader_.FindInode(directory, &found)) DropOpen(found.index);
}

struct Volume::Walk {
  uint64_t directory;
  Listing listing;
  uint32_t trust;         // in the names
  DirHint at;             // cookie: of the last entry handed out, 0: none yet
  bool asked = false;     // the broker was called
  bool full = false;      // the sink has no room left
  bool progress = false;  // something was handed out since this was last cleared
};

bool Volume::AcquireChild(Request& request, Walk* walk, uint64_t inode, Node* out) {
  if (!lane_->WaitWrites(inode)) return false;  // the kernel takes the size from here
  for (;;) {
    shm::InodeRef child;
    if (reader_.FindInode(inode, &child) && KnownHere(child.record)) {
      // Size or times are not in the table: only its name.
      if (NotInTable(child.record)) return false;
      if (Acquire(child.index, inode, &child.record)) {
        *out = Present(child.record, walk->trust);
        return true;
      }
    }
    if (walk->at.loaded) return false;
    // One call makes all children known to us; once per open directory is enough.
    walk->at.loaded = true;
    walk->asked = true;
    Call(request, Args(shm::Op::kLoadListing, walk->directory), Wait::kToTheEnd);
  }
}

// False: the chain changed under the walk.
bool Volume::WalkChain(Request& request, Walk* walk, const shm::InodeRecord& directory,
                       DirSink& sink) {
  char name[shm::kMaxName + 1];
  shm::DentryRecord dentry;
  const uint32_t capacity = reader_.view().geometry().dentry_capacity;
  uint32_t previous = shm::kNoIndex;
  uint32_t index = directory.dir_first;
  uint64_t last_cookie = 0;
  if (const DirHint& at = walk->at;
      at.cookie != 0 && at.index != shm::kNoIndex && at.index < capacity &&
      reader_.ReadDentry(at.index, &dentry, name) && dentry.parent == walk->directory &&
      dentry.inode != 0 && dentry.cookie == at.cookie) {
    previous = at.index;
    index = dentry.dir_next;
    last_cookie = at.cookie;
  }
  while (index != shm::kNoIndex) {
    if (index >= capacity || !reader_.ReadDentry(index, &dentry, name) ||
        dentry.parent != walk->directory || dentry.inode == 0 || dentry.dir_previous != previous ||
        dentry.cookie <= last_cookie || !StillThere(reader_.view(), previous, last_cookie)) {
      return false;
    }
    last_cookie = dentry.cookie;
    if (dentry.cookie > walk->at.cookie) {
      if (!sink.Fits(dentry.name_bytes)) {
        walk->full = true;
        return true;
      }
      Node node;
      const bool held =
          walk->listing == Listing::kNodes && AcquireChild(request, walk, dentry.inode, &node);
      if (held && dentry.type == DT_DIR) dir_hints_.PutName(dentry.inode, index);
      sink.Add({{name, dentry.name_bytes},
                dentry.cookie + kDots,
                dentry.inode,
                dentry.type,
                held ? &node : nullptr,
                index});
      walk->at.cookie = dentry.cookie;
      walk->at.index = index;
      walk->progress = true;
    }
    previous = index;
    index = dentry.dir_next;
  }
  return true;
}

int Volume::WalkListing(Request& request, Walk* walk, DirSink& sink) {
  for (int tries = 0; tries < kWalkTries; ++tries) {
    shm::InodeRef directory;
    if (reader_.FindInode(walk->directory, &directory) &&
        (directory.record.flags & shm::kListingComplete) != 0) {
      if (WalkChain(request, walk, directory.record, sink)) return 0;
      if (walk->progress) tries = 0;
      walk->progress = false;
      sched_yield();
      continue;
    }
    walk->asked = true;
    walk->at.loaded = true;
    const auto reply = Call(request, Args(shm::Op::kLoadListing, walk->directory), Wait::kToTheEnd);
    if (reply.error != 0) return reply.error;
  }
  return EIO;
}

bool Volume::KeepsListing(uint64_t directory, uint32_t flags) const {
  if (!options_.relatime) return true;
  shm::InodeRef found;
  return reader_.FindInode(directory, &found) && !WantsToSeeRead(found.record, flags);
}

// Records do not lead to where they have their names: a name that was seen does, else the broker
// knows. One that has no name any more is said to be in the root.
uint64_t Volume::ParentOf(Request& request, uint64_t directory) {
  if (directory == shm::kRootInode) return directory;
  char name[shm::kMaxName + 1];
  shm::DentryRecord dentry;
  const uint32_t index = dir_hints_.Name(directory);
  if (index < reader_.view().geometry().dentry_capacity &&
      reader_.ReadDentry(index, &dentry, name) && dentry.inode == directory && dentry.parent != 0) {
    return dentry.parent;
  }
  const auto reply = Call(request, Args(shm::Op::kLookup, directory), Wait::kToTheEnd, "..");
  return reply.error == 0 ? reply.attr.inode : shm::kRootInode;
}

int Volume::Readdir(Request& request, uint64_t directory, uint64_t handle, uint64_t offset,
                    Listing listing, DirSink& sink) {
  const Stopwatch watch(*lane_, shm::kLatencyReaddir);
  DirEntry dots[] = {{".", 1, directory, DT_DIR, nullptr, shm::kNoIndex},
                     {"..", 2, 0, DT_DIR, nullptr, shm::kNoIndex}};
  bool any = false;
  for (DirEntry& dot : dots) {
    if (offset >= dot.offset) continue;
    if (!sink.Fits(dot.name.size())) return 0;
    if (dot.inode == 0) dot.inode = ParentOf(request, directory);
    sink.Add(dot);
    any = true;
  }
  const uint32_t trust = TrustInNames(directory);
  if (trust == 0 && !options_.squash) lane_->Count(shm::kChangingListed);
  Walk walk{directory, listing, trust, dir_hints_.Get(handle)};
  const uint64_t after = offset > kDots ? offset - kDots : 0;
  if (walk.at.cookie != after) {  // the client went elsewhere than on
    walk.at.cookie = after;
    walk.at.index = shm::kNoIndex;
  }
  const int error = WalkListing(request, &walk, sink);
  any = any || walk.at.cookie != after;
  dir_hints_.Put(walk.at);
  lane_->Count(walk.asked ? shm::kReaddirMisses : shm::kReaddirHits);
  return any ? 0 : error;  // what was handed out must arrive; the error comes with the next call
}

PlacesEnd Volume::ReaddirPlaces(Request& request, uint64_t directory,
                                std::span<const PlacedName> names, const NameOrder& order,
                                Listing listing, DirSink& sink, size_t* done) {
  const Stopwatch watch(*lane_, shm::kLatencyReaddir);
  char name[shm::kMaxName + 1];
  shm::DentryRecord dentry;
  Walk walk{directory, listing, TrustInNames(directory), {}};
  for (const PlacedName& wanted : names) {
    if (wanted.index >= reader_.view().geometry().dentry_capacity ||
        !reader_.ReadDentry(wanted.index, &dentry, name) || dentry.parent != directory ||
        dentry.inode == 0 || order.PlaceOf({name, dentry.name_bytes}) != wanted.place) {
      return PlacesEnd::kChanged;
    }
    if (!sink.Fits(dentry.name_bytes)) return PlacesEnd::kFull;
    Node node;
    const bool held =
        listing == Listing::kNodes && AcquireChild(request, &walk, dentry.inode, &node);
    sink.Add({{name, dentry.name_bytes},
              wanted.place,
              dentry.inode,
              dentry.type,
              held ? &node : nullptr,
              wanted.index});
    ++*done;
  }
  return PlacesEnd::kAll;
}

}  // namespace airstore::volume
