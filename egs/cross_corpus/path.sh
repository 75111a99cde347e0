. ../asvspoof2019_la/path.sh
