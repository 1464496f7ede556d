// SPDX-License-Identifier: Apache-2.0
//
// Content files: regular files on local disk, one per larger or dirty file of the session, with the
// same offsets as the remote file. The kernel serves them by passthrough; the page cache is the
// shared memory. ContentPool keeps some ready, because making one (and registering it with a mount)
// would otherwise be most of the cost of creating a small file.
//
// A file is used for one inode at a time and gets a new id with each use, so a descriptor that a
// frontend kept from an earlier use is recognised as stale.
// Threads: the event loop; a worker thread may read or write through fd() meanwhile.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "broker/block_hashes.h"
#include "broker/content_seal.h"
#include "shm/base/fd.h"
#include "shm/base/result.h"

namespace airstore::broker {

inline constexpr uint64_t kContentBlock = 256u << 10;  // granule of validity and dirtiness

inline uint64_t BlocksOf(uint64_t bytes) { return (bytes + kContentBlock - 1) / kContentBlock; }

// Somebody else has the file of this descriptor open or mapped.
bool HeldElsewhere(int fd);

class ContentPool;

// One file of the pool and its registrations; survives its uses. Its descriptor may be closed while
// nobody has the file open (descriptors are fewer than files) and comes back when it is asked for.
struct ContentSlot {
  uint64_t number = 0;  // the file's name
  UniqueFd fd;
  std::string path;
  ContentPool* pool = nullptr;
  size_t* open_count = nullptr;                           // the pool's
  std::vector<std::pair<uint32_t, int32_t>> backing_ids;  // (mount, id)
  // Registrations that keep an earlier broker's descriptor open.
  bool adopted_backings = false;
};

struct FileStamp {
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  uint64_t allocated_bytes = 0;
  bool operator==(const FileStamp&) const = default;
};

struct ContentFile {
  uint64_t id = 0;
  uint64_t inode = 0;
  ContentSlot* slot = nullptr;

  // Which blocks are here. `complete`: all of them, `valid` is not looked at.
  bool complete = false;
  std::vector<bool> valid = {};
  uint64_t valid_count = 0;
  std::set<uint64_t> fetching = {};  // blocks on their way
  size_t runs = 0;                   // ... in so many questions

  // What the gateway has (or was sent): XXH3 by block, 0 where never sent. `sent` is how the file
  // looked when that was so; a file that still looks so is clean.
  BlockHashes sent_hash = {};
  FileStamp sent = {};
  uint64_t truncations = 0;   // tells a sender that what it read may be of before
  uint64_t base_version = 0;  // the gateway's content version that this is made of; 0: not known
  bool never_sent = false;    // the gateway has no content: everything here is to be sent
  // Another host may have changed it since that version: ours is taken on that version only.
  bool unsure = false;
  // The gateway has refused to cut it as it was cut here: its bytes are not those of that version.
  bool other_cut = false;
  // What was sent is not known (another broker did it): everything is to be sent, holes too.
  bool resend = false;
  // The journal says that the file is needed for a replay: it must not go away.
  bool needed = false;
  // The gateway has refused it for good, and lost+found has it as it was at `sent`.
  bool refused = false;
  std::string kept_as = {};  // id of the item in lost+found
  bool given_away = false;   // the file has another name there: it is not to be emptied
  // The write that is on its way is a part: the next one begins here. 0: it is not.
  uint64_t next_part = 0;
  int64_t part_since_ns = 0;  // monotonic: when the reading of what is on its way began
  // The last write referred to blocks that the gateway had collected before it came.
  bool sent_again = false;
  // What it took on disk when the gateway had all of it: what it takes beyond that is unsent.
  uint64_t settled_bytes = 0;
  std::shared_ptr<PendingSeal> seal = {};  // it is sealed, or about to be
  // The record that it is not needed any more is before this one in the journal.
  uint64_t released_lsn = 0;

  // Opens the file again if it was parked; -1 with errno when that fails.
  int fd() const;
  // Somebody else has the file open or mapped. The map of a passthrough file holds the content file
  // itself: the kernel releases the open as soon as its descriptor is closed, and does not tell.
  bool HeldElsewhere() const;
  Result<FileStamp> Stamp() const;
};

class ContentPool {
 public:
  // `directory` exists. Called with each mount-registered id of a file that goes away.
  using CloseBacking = std::function<void(uint32_t mount, int32_t backing_id)>;
  // Called with a file that is about to be emptied or removed.
  using Removing = std::function<void(const ContentFile& file)>;
  // `first_number`, `first_id`: greater than any that was given before in this directory.
  ContentPool(std::string directory, uint64_t first_number, uint64_t first_id,
              CloseBacking close_backing, Removing removing);
  ~ContentPool() { Close(); }
  ContentPool(const ContentPool&) = delete;
  ContentPool& operator=(const ContentPool&) = delete;

  // An empty file for the inode. Goes back to the pool, emptied, with the last reference, unless
  // it is `needed`. The files stay when the pool goes away.
  Result<std::shared_ptr<ContentFile>> Take(uint64_t inode);
  // A file that an earlier pool has given out, with its number and id. Its descriptor is opened
  // when it is asked for.
  std::shared_ptr<ContentFile> Adopt(uint64_t inode, uint64_t number, uint64_t id);
  // Asked of a file that nobody needs any more: true: it stays as it is, and whoever was asked
  // removes it later.
  void SetHold(std::function<bool(const ContentFile& file)> hold) { hold_ = std::move(hold); }
  // Removes what lies in the directory and was not adopted. Before any Take or Refill.
  void RemoveOthers();
  // More descriptors are open than there should be: park files that nobody has open.
  bool crowded() const { return open_count_ >= open_limit_; }
  // Nobody can make the file grow or be written from what this returns has Run until Unseal: writes
  // fail with EPERM, stores to parts of a map that are not on disk yet with SIGBUS.
  static std::shared_ptr<PendingSeal> Seal(ContentFile* file);
  static void Unseal(ContentFile* file);
  // Closes descriptor and registrations until the file is asked for again. REQUIRES: not open.
  void Park(ContentSlot* slot);
  // From now on nothing is emptied or removed: the session ends, and what is in the files may be
  // wanted by the next one.
  void Close() { *closed_ = true; }
  // Closes the registrations that an earlier broker has made. REQUIRES: not open in passthrough.
  void DropAdoptedBackings(ContentSlot* slot);
  // Makes some files ahead; false when enough are ready.
  bool Refill();
  // The mount is gone and its registrations with it.
  void ForgetMount(uint32_t mount);

 private:
  Result<ContentSlot*> MakeSlot();
  ContentSlot* AddSlot(uint64_t number);
  std::shared_ptr<ContentFile> Give(ContentFile* file);
  void Return(const ContentFile& used);

  std::string directory_;
  CloseBacking close_backing_;
  Removing removing_;
  std::function<bool(const ContentFile& file)> hold_;
  std::unordered_map<uint64_t, std::unique_ptr<ContentSlot>> slots_;  // by number
  std::vector<ContentSlot*> ready_;
  size_t open_count_ = 0;
  size_t open_limit_;
  // Shared with the files: they may outlive the pool, which then does not want them back.
  std::shared_ptr<bool> closed_ = std::make_shared<bool>(false);
  uint64_t next_id_;
  uint64_t next_path_;
};

}  // namespace airstore::broker
