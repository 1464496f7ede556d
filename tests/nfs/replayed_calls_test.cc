// SPDX-License-Identifier: Apache-2.0
//
// A frontend that dies between the effect of a call and its reply: the client sends the call again,
// and is told what came of it the first time.
#include "tests/fault/switchboard.h"
#include "tests/nfs/served.h"

namespace airstore::nfs_test {
namespace {

class ReplayedCalls : public ServedTest {
 protected:
  void SetUp() override {
    ServedTest::SetUp();
    if (IsSkipped()) return;
    root_ = Connect()->Mount(path());
    ASSERT_EQ(Connect()->Mkdir(root_, "d", 0755, nullptr), NFS3_OK);
    ASSERT_EQ(Connect()->Make(root_, "f", 0644, &file_), NFS3_OK);
  }
  e2e::HostOptions Options() const override {
    return {.environment = {{"AIRSTORE_FAULT", board_.path()}}};
  }

  // What the second of two equal calls is told; the first one is not answered.
  nfsstat3 AskTwice(nfsproc3 procedure, const std::string& arguments) {
    const uint32_t xid = ++xid_;
    const std::string call =
        Connect()->CallBytes(xid, NFS3_PROGRAM, 3, static_cast<uint32_t>(procedure), arguments);
    const auto fired = board_.fired(FaultPoint::kFrontendBeforeReply);
    auto first = Connect();
    board_.Arm(FaultPoint::kFrontendBeforeReply, FaultAction::kKill, 0, 0, 1);
    first->SendBytes(call);
    EXPECT_FALSE(first->ReadRecord()) << procedure;
    EXPECT_EQ(board_.fired(FaultPoint::kFrontendBeforeReply), fired + 1);
    auto second = Connect();
    second->SendBytes(call);
    const auto record = second->ReadRecord();
    if (!record) return NFS3ERR_IO;
    Body body(RpcClient::ParseReply(*record, xid).body);
    return body.Status();
  }

  fault::Switchboard board_;
  Handle root_;
  Handle file_;
  uint32_t xid_ = 1000;
};

TEST_F(ReplayedCalls, AreAnsweredAsTheFirstTime) {
  createhow3 how{};
  how.mode = GUARDED;
  how.createhow3_u.guarded_attributes = WithMode(0644);
  const std::string attributes = Code(xdr_sattr3, WithMode(0700));
  const std::string file = Code(xdr_nfs_fh3, Wire(file_));
  EXPECT_EQ(AskTwice(NFSPROC3_CREATE, Where(root_, "created") + Code(xdr_createhow3, how)),
            NFS3_OK);
  EXPECT_EQ(AskTwice(NFSPROC3_MKDIR, Where(root_, "made") + attributes), NFS3_OK);
  EXPECT_EQ(AskTwice(NFSPROC3_SYMLINK, Where(root_, "link") + Code(xdr_sattr3, sattr3{}) +
                                           Code(xdr_filename3, WireName("target"))),
            NFS3_OK);
  EXPECT_EQ(AskTwice(NFSPROC3_LINK, file + Where(root_, "second")), NFS3_OK);
  EXPECT_EQ(AskTwice(NFSPROC3_RENAME, Where(root_, "second") + Where(root_, "third")), NFS3_OK);
  EXPECT_EQ(AskTwice(NFSPROC3_REMOVE, Where(root_, "third")), NFS3_OK);
  EXPECT_EQ(AskTwice(NFSPROC3_RMDIR, Where(root_, "d")), NFS3_OK);
  EXPECT_EQ(AskTwice(NFSPROC3_SETATTR, file + attributes + Code(xdr_sattrguard3, sattrguard3{})),
            NFS3_OK);
  // And each was done once.
  const auto client = Connect();
  fattr3 found{};
  ASSERT_EQ(client->Getattr(file_, &found), NFS3_OK);
  EXPECT_EQ(found.nlink, 1u);
  EXPECT_EQ(found.mode, 0700u);
  EXPECT_EQ(client->Lookup(root_, "created", nullptr), NFS3_OK);
  EXPECT_EQ(client->Lookup(root_, "made", nullptr), NFS3_OK);
  EXPECT_EQ(client->Lookup(root_, "d", nullptr), NFS3ERR_NOENT);
  // One that nobody has carried out is not.
  EXPECT_EQ(client->Remove(root_, "third"), NFS3ERR_NOENT);
}

}  // namespace
}  // namespace airstore::nfs_test
