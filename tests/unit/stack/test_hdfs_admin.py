import pytest
import responses
from responses import matchers

from penstock.core.errors import Fatal, Retry
from penstock.core.settings import Hdfs
from penstock.stack.hdfs_admin import provision

HDFS = Hdfs("hdfs://hdfs:8020", "http://hdfs:9870", "penstock")


def test_a_folder_is_made_and_given_to_the_platforms_user():
    with responses.RequestsMock() as api:
        for query in (
            {"op": "MKDIRS", "permission": "755"},
            {"op": "SETOWNER", "owner": "penstock"},
        ):
            api.put(
                "http://hdfs:9870/webhdfs/v1/Cars",
                match=[matchers.query_param_matcher({"user.name": "hdfs"} | query)],
                json={"boolean": True},
            )
        provision(HDFS, ["/Cars"])


def test_a_refusal_is_told_in_hdfss_own_words():
    said = {"RemoteException": {"message": "Invalid path name Cars\nat org.apache..."}}
    with responses.RequestsMock() as api:
        api.put("http://hdfs:9870/webhdfs/v1/Cars", json=said, status=400)
        with pytest.raises(Fatal, match=r"HDFS refuses MKDIRS of /Cars \(HTTP 400\): Invalid path name Cars$"):
            provision(HDFS, ["/Cars"])


def test_a_namenode_that_is_away_can_be_asked_again():
    with responses.RequestsMock(), pytest.raises(Retry, match="cannot be reached"):
        provision(HDFS, ["/Cars"])
