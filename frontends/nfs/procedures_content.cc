// SPDX-License-Identifier: Apache-2.0
//
// Content: reading, writing, and seeing to it that what was written stays.
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "frontends/nfs/procedures.h"

namespace airstore::nfs {
namespace {

constexpr uint32_t kDataOnly = 1;

// Sends the reply while the bytes are protected: they are copied once, by the kernel.
class ReplySink final : public volume::ReadSink {
 public:
  ReplySink(Call& call, XDR* out, const volume::Node& node, uint64_t offset)
      : call_(call), out_(out), node_(node), offset_(offset) {}

  void Deliver(const iovec* parts, int count) override {
    uint32_t bytes = 0;
    iovec payload[4];
    int used = 0;
    for (; used < count && used < 3; ++used) {
      payload[used] = parts[used];
      bytes += static_cast<uint32_t>(parts[used].iov_len);
    }
    static constexpr char kPadding[4] = {};
    if (bytes % 4 != 0) payload[used++] = {const_cast<char*>(kPadding), 4 - bytes % 4};
    READ3reshead head{call_.Tell(node_.record), bytes, offset_ + bytes >= node_.record.size};
    if (!Put(out_, NFS3_OK) || !xdr_READ3reshead(out_, &head) || !xdr_u_int32_t(out_, &bytes)) {
      return;
    }
    call_.sender().Send({out_->x_base, xdr_getpos(out_)}, payload, used);
    sent_ = true;
  }
  bool sent() const { return sent_; }

 private:
  Call& call_;
  XDR* out_;
  const volume::Node& node_;
  const uint64_t offset_;
  bool sent_ = false;
};

Outcome RefuseWith(XDR* out, nfsstat3 status, wcc_data wcc) {
  return Encoded(Put(out, status) && xdr_wcc_data(out, &wcc));
}

// Writes that come one upon another do not wait for the broker to have applied them; there are no
// attributes before it has.
wcc_data WccOfWrite(Call& call, const volume::Node* before, uint64_t inode) {
  return call.volume().Settled(inode) ? call.Wcc(before, inode) : wcc_data{};
}

// A client takes STALE for the end of the file. That another host was first is the end of what was
// written only.
nfsstat3 StatusOfWritten(int error) { return StatusOf(error == ESTALE ? EIO : error); }

nfsstat3 WriteBytes(Call& call, const volume::Node& node, const WRITE3argshead& args,
                    std::span<const uint8_t> data) {
  const uint64_t inode = node.record.inode;
  volume::Volume& volume = call.volume();
  if (data.empty()) return NFS3_OK;
  int error = volume.AwaitRoom(call, inode, args.offset, data.size());
  OpenWriters& writers = call.service().writers;
  if (error == 0) error = writers.Use(call, inode);
  if (error != 0) return StatusOf(error);
  if (call.identity().uid != 0) error = volume.KillSetId(call, inode);
  if (error == 0) error = volume.AnnounceWrite(call, inode, {}, args.offset, data.size());
  if (error == 0) error = volume.Write(inode, args.offset, data);
  const bool stable = args.stable != UNSTABLE;
  if (error == 0 && stable) {
    error = volume.Fsync(call, inode, args.stable == DATA_SYNC ? kDataOnly : 0);
  }
  writers.Done(call, inode, stable);
  return StatusOfWritten(error);
}

}  // namespace

Outcome Read(Call& call, XDR* in, XDR* out) {
  READ3args args{};
  HandleArg room;
  room.Into(&args.file);
  if (!xdr_READ3args(in, &args)) return Outcome::kGarbage;
  volume::Node node;
  nfsstat3 status = call.FindFile(args.file, &node);
  if (status == NFS3_OK) {
    status = StatusOf(volume::CheckIo(call.credentials(), Checked(call, node), volume::kMayRead));
  }
  post_op_attr attributes{};
  if (status == NFS3_OK) {
    ReplySink sink(call, out, node, args.offset);
    const int error = call.volume().Read(call, node.record.inode, {}, args.offset,
                                         std::min(args.count, kMostRead), sink);
    if (sink.sent()) return Outcome::kSent;
    status = StatusOf(error != 0 ? error : EIO);
    attributes = call.Tell(node.record);
  }
  return Encoded(Put(out, status) && xdr_post_op_attr(out, &attributes));
}

Outcome Write(Call& call, XDR* in, XDR* out) {
  WRITE3argshead args{};
  HandleArg room;
  room.Into(&args.file);
  uint32_t bytes = 0;
  if (!xdr_WRITE3argshead(in, &args) || !xdr_u_int32_t(in, &bytes) || args.stable > FILE_SYNC) {
    return Outcome::kGarbage;
  }
  const auto* data = reinterpret_cast<const uint8_t*>(xdr_inline(in, RNDUP(bytes)));
  if ((data == nullptr && bytes != 0) || bytes > kMostWrite) return Outcome::kGarbage;
  volume::Node node;
  nfsstat3 status = call.FindWritten(args.file, &node);
  if (status != NFS3_OK) return RefuseWith(out, status, {});
  const bool settled = call.volume().Settled(node.record.inode);
  if (args.count > bytes) status = NFS3ERR_INVAL;
  if (status == NFS3_OK) {
    status = StatusOf(volume::CheckIo(call.credentials(), Checked(call, node), volume::kMayWrite));
  }
  if (status == NFS3_OK && call.volume().options().read_only) status = NFS3ERR_ROFS;
  if (status == NFS3_OK) status = WriteBytes(call, node, args, {data, args.count});
  const wcc_data wcc = WccOfWrite(call, settled ? &node : nullptr, node.record.inode);
  if (status != NFS3_OK) return RefuseWith(out, status, wcc);
  WRITE3resok answer{wcc, args.count, args.stable, {}};
  memcpy(answer.verf, call.service().write_verifier, sizeof(answer.verf));
  return Encoded(Put(out, status) && xdr_WRITE3resok(out, &answer));
}

Outcome Commit(Call& call, XDR* in, XDR* out) {
  COMMIT3args args{};
  HandleArg room;
  room.Into(&args.file);
  if (!xdr_COMMIT3args(in, &args)) return Outcome::kGarbage;
  volume::Node node;
  nfsstat3 status = call.FindFile(args.file, &node);
  if (status != NFS3_OK) return RefuseWith(out, status, {});
  const uint64_t inode = node.record.inode;
  status = StatusOfWritten(call.volume().Fsync(call, inode, 0));
  call.service().writers.Close(call, inode);
  const wcc_data wcc = call.Wcc(&node, inode);
  if (status != NFS3_OK) return RefuseWith(out, status, wcc);
  COMMIT3resok answer{wcc, {}};
  memcpy(answer.verf, call.service().write_verifier, sizeof(answer.verf));
  return Encoded(Put(out, status) && xdr_COMMIT3resok(out, &answer));
}

}  // namespace airstore::nfs
