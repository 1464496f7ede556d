// SPDX-License-Identifier: Apache-2.0
//
// Listings. What a cookie is: sorted_listings.h.
#include <algorithm>
#include <cstring>

#include "frontends/nfs/procedures.h"

namespace airstore::nfs {
namespace {

// What a listing ends with: no further entry, and whether that was the last one.
constexpr uint32_t kTailBytes = 8;
constexpr uint32_t kStatusBytes = 4;
// TRUE, fileid, length of the name, cookie.
constexpr uint32_t kEntryBytes = 4 + 8 + 4 + 8;
// Attributes and handle, each behind TRUE.
constexpr uint32_t kPlusBytes = 4 + 84 + 4 + 4 + FileHandles::kBytes;

class ListingSink final : public volume::DirSink {
 public:
  // `most`: bytes of the whole result. `names`: of what READDIRPLUS counts separately.
  ListingSink(Call& call, XDR* out, volume::Listing listing, uint32_t most, uint32_t names)
      : call_(call),
        out_(out),
        plus_(listing == volume::Listing::kNodes),
        most_(most),
        names_(names) {}

  bool Fits(size_t name_bytes) override {
    const auto entry = static_cast<uint32_t>(kEntryBytes + RNDUP(name_bytes));
    full_ = xdr_getpos(out_) - start_ + entry + (plus_ ? kPlusBytes : 0) + kTailBytes > most_ ||
            named_ + entry > names_;
    return !full_;
  }

  void Add(const volume::DirEntry& entry) override {
    bool_t follows = TRUE;
    filename3 name{static_cast<u_int>(entry.name.size()), const_cast<char*>(entry.name.data())};
    named_ += static_cast<uint32_t>(kEntryBytes + RNDUP(entry.name.size()));
    any_ = true;
    if (!plus_) {
      entry3 plain{entry.inode, name, entry.offset};
      good_ = good_ && xdr_bool(out_, &follows) && xdr_entry3(out_, &plain);
      return;
    }
    FileHandles::Handle room;
    entryplus3 rich{entry.inode, name, entry.offset, {}, {}};
    if (entry.node != nullptr) {
      const shm::InodeRecord& record = entry.node->record;
      rich.name_attributes = call_.Tell(record);
      rich.name_handle.handle_follows = TRUE;
      rich.name_handle.post_op_fh3_u.handle = call_.HandleOf(record, &room);
      call_.volume().Forget(record.inode, 1);
    }
    good_ = good_ && xdr_bool(out_, &follows) && xdr_entryplus3(out_, &rich);
  }

  // From here on it counts.
  void Start(uint32_t position) { start_ = position; }
  bool good() const { return good_; }
  bool full() const { return full_; }
  bool any() const { return any_; }

 private:
  Call& call_;
  XDR* out_;
  const bool plus_;
  const uint32_t most_;
  const uint32_t names_;
  uint32_t start_ = 0;
  uint32_t named_ = 0;
  bool full_ = false;
  bool any_ = false;
  bool good_ = true;
};

struct Question {
  nfs_fh3 dir{};
  HandleArg room;
  cookie3 cookie = 0;
  cookieverf3 verifier{};
  uint32_t names = 0;
  uint32_t most = 0;
};

Outcome Refuse(XDR* out, nfsstat3 status, post_op_attr attributes) {
  return Encoded(Put(out, status) && xdr_post_op_attr(out, &attributes));
}

Outcome List(Call& call, XDR* out, const Question& asked, volume::Listing listing) {
  volume::Node directory;
  nfsstat3 status = call.FindDirectory(asked.dir, &directory);
  if (status != NFS3_OK) return Refuse(out, status, {});
  const post_op_attr attributes = call.Tell(directory.record);
  status =
      StatusOf(volume::CheckAccess(call.credentials(), Checked(call, directory), volume::kMayRead));
  if (status != NFS3_OK) return Refuse(out, status, attributes);
  READDIR3reshead head{attributes, {}};
  memcpy(head.cookieverf, call.service().cookie_verifier, sizeof(head.cookieverf));
  if (asked.cookie != 0 && memcmp(head.cookieverf, asked.verifier, sizeof(asked.verifier)) != 0) {
    return Refuse(out, NFS3ERR_BAD_COOKIE, attributes);
  }
  const u_int start = xdr_getpos(out);
  ListingSink sink(call, out, listing, std::min(asked.most, kMostListing),
                   std::min(asked.names, kMostListing));
  sink.Start(start + kStatusBytes);
  if (!Put(out, NFS3_OK) || !xdr_READDIR3reshead(out, &head)) return Outcome::kGarbage;
  const uint64_t inode = directory.record.inode;
  bool at_end = false;
  const int error = call.service().listings.List(call, inode, asked.cookie, listing, sink, &at_end);
  status = StatusOf(error);
  if (error == 0 && sink.full() && !sink.any()) status = NFS3ERR_TOOSMALL;
  if (status != NFS3_OK) {
    xdr_setpos(out, start);
    return Refuse(out, status, attributes);
  }
  bool_t follows = FALSE;
  bool_t end = at_end;
  return Encoded(sink.good() && xdr_bool(out, &follows) && xdr_bool(out, &end));
}

}  // namespace

Outcome Readdir(Call& call, XDR* in, XDR* out) {
  Question asked;
  READDIR3args args{};
  asked.room.Into(&args.dir);
  if (!xdr_READDIR3args(in, &args)) return Outcome::kGarbage;
  asked.dir = args.dir;
  asked.cookie = args.cookie;
  memcpy(asked.verifier, args.cookieverf, sizeof(asked.verifier));
  asked.names = asked.most = args.count;
  return List(call, out, asked, volume::Listing::kNames);
}

Outcome ReaddirPlus(Call& call, XDR* in, XDR* out) {
  Question asked;
  READDIRPLUS3args args{};
  asked.room.Into(&args.dir);
  if (!xdr_READDIRPLUS3args(in, &args)) return Outcome::kGarbage;
  asked.dir = args.dir;
  asked.cookie = args.cookie;
  memcpy(asked.verifier, args.cookieverf, sizeof(asked.verifier));
  asked.names = args.dircount;
  asked.most = args.maxcount;
  return List(call, out, asked, volume::Listing::kNodes);
}

}  // namespace airstore::nfs
