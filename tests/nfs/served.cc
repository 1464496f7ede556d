// SPDX-License-Identifier: Apache-2.0
#include "tests/nfs/served.h"

#include <signal.h>

namespace airstore::nfs_test {

nfs_fh3 Wire(const Handle& handle) {
  return {{static_cast<u_int>(handle.size()), const_cast<char*>(handle.data())}};
}

filename3 WireName(const std::string& name) {
  return {static_cast<u_int>(name.size()), const_cast<char*>(name.data())};
}

std::string Where(const Handle& directory, const std::string& name) {
  return Code(xdr_diropargs3, diropargs3{Wire(directory), WireName(name)});
}

sattr3 WithMode(uint32_t mode) {
  sattr3 out{};
  out.mode.set_it = TRUE;
  out.mode.set_mode3_u.mode = mode;
  return out;
}

namespace {

Handle HandleOf(const nfs_fh3& wire) { return {wire.data.data_val, wire.data.data_len}; }

// Of what makes something.
nfsstat3 TakeMade(const std::string& reply, Handle* out) {
  Body body(reply);
  const nfsstat3 status = body.Status();
  if (status == NFS3_OK) {
    const auto made = body.Take(xdr_NEWNODE3resok);
    EXPECT_TRUE(made.obj.handle_follows);
    EXPECT_TRUE(made.obj_attributes.attributes_follow);
    if (out != nullptr) *out = HandleOf(made.obj.post_op_fh3_u.handle);
  } else {
    body.Take(xdr_wcc_data);
  }
  EXPECT_TRUE(body.AtEnd());
  return status;
}

nfsstat3 TakeWcc(const std::string& reply) {
  Body body(reply);
  const nfsstat3 status = body.Status();
  body.Take(xdr_wcc_data);
  EXPECT_TRUE(body.AtEnd());
  return status;
}

std::string Checked(const Reply& reply) {
  if (!reply.good())
    throw std::runtime_error("the call was refused: " + std::to_string(reply.status));
  return reply.body;
}

}  // namespace

Handle Client::Mount(const std::string& path) {
  Body body(Checked(Call(MOUNT3_PROGRAM, MOUNT3_VERSION, MOUNTPROC3_MNT,
                         Code(xdr_dirpath, dirpath{static_cast<u_int>(path.size()),
                                                   const_cast<char*>(path.data())}))));
  if (body.Take(xdr_mountstat3) != MNT3_OK) throw std::runtime_error("the mount was refused");
  return HandleOf(body.Take(xdr_mountres3_ok).fhandle);
}

nfsstat3 Client::Getattr(const Handle& object, fattr3* out) {
  Body body(Checked(Nfs(NFSPROC3_GETATTR, Code(xdr_nfs_fh3, Wire(object)))));
  const nfsstat3 status = body.Status();
  if (status == NFS3_OK) *out = body.Take(xdr_fattr3);
  EXPECT_TRUE(body.AtEnd());
  return status;
}

nfsstat3 Client::Lookup(const Handle& directory, const std::string& name, Handle* out) {
  Body body(Checked(Nfs(NFSPROC3_LOOKUP, Where(directory, name))));
  const nfsstat3 status = body.Status();
  if (status == NFS3_OK) {
    const auto found = body.Take(xdr_LOOKUP3resok);
    if (out != nullptr) *out = HandleOf(found.object);
  } else {
    body.Take(xdr_post_op_attr);
  }
  EXPECT_TRUE(body.AtEnd());
  return status;
}

nfsstat3 Client::Create(const Handle& directory, const std::string& name, const createhow3& how,
                        Handle* out) {
  return TakeMade(Checked(Nfs(NFSPROC3_CREATE, Where(directory, name) + Code(xdr_createhow3, how))),
                  out);
}

nfsstat3 Client::Make(const Handle& directory, const std::string& name, uint32_t mode,
                      Handle* out) {
  createhow3 how{};
  how.mode = GUARDED;
  how.createhow3_u.guarded_attributes = WithMode(mode);
  return Create(directory, name, how, out);
}

nfsstat3 Client::Mkdir(const Handle& directory, const std::string& name, uint32_t mode,
                       Handle* out) {
  return TakeMade(
      Checked(Nfs(NFSPROC3_MKDIR, Where(directory, name) + Code(xdr_sattr3, WithMode(mode)))), out);
}

nfsstat3 Client::Remove(const Handle& directory, const std::string& name) {
  return TakeWcc(Checked(Nfs(NFSPROC3_REMOVE, Where(directory, name))));
}

nfsstat3 Client::Setattr(const Handle& object, const sattr3& change) {
  return TakeWcc(
      Checked(Nfs(NFSPROC3_SETATTR, Code(xdr_nfs_fh3, Wire(object)) + Code(xdr_sattr3, change) +
                                        Code(xdr_sattrguard3, sattrguard3{}))));
}

nfsstat3 Client::Write(const Handle& file, uint64_t offset, const std::string& data,
                       stable_how stable, WRITE3resok* out) {
  const auto bytes = static_cast<uint32_t>(data.size());
  std::string arguments =
      Code(xdr_WRITE3argshead, WRITE3argshead{Wire(file), offset, bytes, stable});
  arguments += Code(xdr_uint32, bytes) + data;
  arguments.resize((arguments.size() + 3) / 4 * 4);
  Body body(Checked(Nfs(NFSPROC3_WRITE, arguments)));
  const nfsstat3 status = body.Status();
  if (status != NFS3_OK) {
    body.Take(xdr_wcc_data);
  } else {
    const auto written = body.Take(xdr_WRITE3resok);
    EXPECT_EQ(written.count, bytes);
    EXPECT_GE(written.committed, stable);
    if (out != nullptr) *out = written;
  }
  EXPECT_TRUE(body.AtEnd());
  return status;
}

nfsstat3 Client::Read(const Handle& file, uint64_t offset, uint32_t count, std::string* data,
                      bool* end) {
  const std::string bytes =
      Checked(Nfs(NFSPROC3_READ, Code(xdr_READ3args, READ3args{Wire(file), offset, count})));
  Body body(bytes);
  const nfsstat3 status = body.Status();
  if (status != NFS3_OK) {
    body.Take(xdr_post_op_attr);
    return status;
  }
  const auto head = body.Take(xdr_READ3reshead);
  const uint32_t length = body.Take(xdr_uint32);
  EXPECT_EQ(head.count, length);
  EXPECT_LE(length, count);
  const size_t padded = (length + 3) / 4 * 4;
  if (bytes.size() < padded) throw std::runtime_error("a reply is too short");
  *data = bytes.substr(bytes.size() - padded, length);
  if (end != nullptr) *end = head.eof != 0;
  return status;
}

nfsstat3 Client::Commit(const Handle& file, COMMIT3resok* out) {
  Body body(Checked(Nfs(NFSPROC3_COMMIT, Code(xdr_COMMIT3args, COMMIT3args{Wire(file), 0, 0}))));
  const nfsstat3 status = body.Status();
  if (status != NFS3_OK) {
    body.Take(xdr_wcc_data);
  } else {
    const auto committed = body.Take(xdr_COMMIT3resok);
    if (out != nullptr) *out = committed;
  }
  EXPECT_TRUE(body.AtEnd());
  return status;
}

uint32_t Client::Access(const Handle& object, uint32_t wanted) {
  Body body(
      Checked(Nfs(NFSPROC3_ACCESS, Code(xdr_ACCESS3args, ACCESS3args{Wire(object), wanted}))));
  EXPECT_EQ(body.Status(), NFS3_OK);
  return body.Take(xdr_ACCESS3resok).access;
}

void ServedTest::SetUp() {
  HostTest::SetUp();
  if (IsSkipped()) return;
  host().CreateWorkspace("work");
  name_ = host().Path("nfs");
  ServeAgain();
}

void ServedTest::ServeAgain(const e2e::Arguments& extra) {
  const auto served = Serve(name_, extra);
  port_ = served["nfs"]["port"].get<uint16_t>();
  path_ = served["nfs"]["path"];
}

nlohmann::json ServedTest::Serve(const std::string& name, const e2e::Arguments& extra) {
  e2e::Arguments arguments = {"mount",
                              name,
                              "--backend",
                              "nfs",
                              "--serve-only",
                              "--gateway",
                              host().gateway_address(),
                              "--token-file",
                              host().Path("work.token")};
  arguments.insert(arguments.end(), extra.begin(), extra.end());
  return host().AirctlJson(arguments)["mount"];
}

std::chrono::seconds ServedTest::Patience() {
  const bool longer =
      getenv("AIRSTORE_NFS_LONG") != nullptr || getenv("AIRSTORE_NFS_FILES") != nullptr;
  return std::chrono::seconds(longer ? 3600 : 240);
}

std::string ServedTest::MountElsewhere() {
  EXPECT_TRUE(e2e::WaitUntil(std::chrono::seconds(10), [&] {
    return host().Airctl({"unmount", name()}).code == 0;
  }));
  host().StopBroker();
  host().WipeBrokerState();
  host().StartBroker();
  return host().Mount("work", "mnt");
}

pid_t ServedTest::Frontend() { return host().MountStatus(name_)["frontend_pid"].get<pid_t>(); }

void ServedTest::KillFrontend() {
  const pid_t before = Frontend();
  ASSERT_EQ(kill(before, SIGKILL), 0);
  AwaitFrontendAfter(before);
}

void ServedTest::AwaitFrontendAfter(pid_t before) {
  ASSERT_TRUE(e2e::WaitUntil(std::chrono::seconds(10), [&] {
    const auto status = host().MountStatus(name_);
    return status["state"] == "ready" && status["frontend_pid"].get<pid_t>() != before;
  }));
}

}  // namespace airstore::nfs_test
